"""Calls about an answer that the provider has stored: retrieve, cancel, delete, or wait for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from aquila.engine.calls.call_plan import CallPlan, plan_operation
from aquila.engine.calls.options import REQUEST_OPTIONS, RESULT_OPTIONS
from aquila.engine.loop.single_request import SingleRequest
from aquila.engine.loop.stored_answer_loop import StoredAnswerLoop
from aquila.errors import ConfigError
from aquila.response import Response


def plan_retrieval(id: Any, given: Mapping[str, Any]) -> CallPlan:
    """Return the plan that fetches a stored answer as it is now; ``id`` is text or a ``Response``."""
    make_loop = functools.partial(StoredAnswerLoop, id=_id_of(id), path="responses.retrieve")
    return plan_operation("retrieve_response", make_loop, given, REQUEST_OPTIONS)


def plan_cancellation(id: Any, given: Mapping[str, Any]) -> CallPlan:
    """Return the plan that cancels an answer that is being made in the background; ``id`` is text or a ``Response``."""
    make_loop = functools.partial(StoredAnswerLoop, id=_id_of(id), path="responses.cancel")
    return plan_operation("cancel_response", make_loop, given, REQUEST_OPTIONS)


def plan_waiting(id: Any, given: Mapping[str, Any]) -> CallPlan:
    """Return the plan that fetches a stored answer until it is finished; ``id`` is text or a ``Response``."""
    make_loop = functools.partial(StoredAnswerLoop, id=_id_of(id), path="responses.retrieve", waits=True)
    return plan_operation("research.result", make_loop, given, RESULT_OPTIONS)


def plan_deletion(id: Any, given: Mapping[str, Any]) -> CallPlan:
    """Return the plan that deletes a stored answer; ``id`` is text or a ``Response``."""
    make_loop = functools.partial(
        SingleRequest, request={"response_id": _id_of(id)}, path="responses.delete", read=lambda loop, outcome: True
    )
    return plan_operation("delete_response", make_loop, given, REQUEST_OPTIONS)


def _id_of(value: Any) -> str:
    """Return the id of an answer, given as text or as a ``Response``. Raises ``ConfigError`` if there is none."""
    found = value.meta.get("id") if isinstance(value, Response) else value
    if not isinstance(found, str) or not found.strip():
        raise ConfigError(f"the id of a response is text such as 'resp_123', or a Response that has one, not {found!r}")
    return found
