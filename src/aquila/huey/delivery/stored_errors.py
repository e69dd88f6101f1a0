"""Removes the errors that are stored as the results of jobs which are about to be retried, and puts them back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from huey.constants import EmptyData
from huey.storage import RedisStorage
from huey.utils import Error

from aquila.huey.progress.patient_results import PATIENCE
from aquila.huey.progress.storage_patience import ask_until_answered

logger = logging.getLogger("huey.aquila")


def forget_errors(huey: Any, ids: Iterable[str], forgotten: dict[str, bytes]) -> None:
    """Remove the results of tasks that are errors, and add each to ``forgotten``, under the id of its task.

    ``forgotten`` is complete even where this raises what the storage raises.
    """
    for id in ids:
        data = huey.storage.peek_data(id)
        if data is not EmptyData and _is_error(huey, data):
            # Noted first: the storage may remove the error although its answer does not arrive.
            forgotten[id] = data
            huey.storage.delete_data(id)


def put_errors_back(huey: Any, forgotten: dict[str, bytes]) -> None:
    """Store what ``forget_errors`` has removed, where there is no newer result.

    A storage that does not answer is asked again for ``PATIENCE`` seconds. Never raises an ``Exception``: the caller
    has one to raise already.
    """

    def put_back() -> None:
        for id, data in forgotten.items():
            _put_if_empty(huey.storage, id, data)

    try:
        ask_until_answered(put_back, patience=PATIENCE)
    except Exception:
        logger.exception("the stored errors of the tasks %s may be lost", ", ".join(forgotten))


def _put_if_empty(storage: Any, id: str, data: bytes) -> None:
    # Private parts of Huey 3.5: in a storage whose results expire, `result_key` is a method, and `_notify` wakes those
    # who wait for a result.
    expires = isinstance(storage, RedisStorage) and callable(storage.result_key)
    options = {"ttl": storage._expire_time} if expires else {}
    if storage.put_if_empty(id, data, **options) and getattr(storage, "notify_result", False):
        storage._notify(id)


def _is_error(huey: Any, data: Any) -> bool:
    """Whether the stored bytes of a result are those of an error."""
    try:
        return isinstance(huey.serializer.deserialize(data), Error)
    except Exception:  # noqa: BLE001 -- whatever is stored there, and whatever a serializer raises
        return False
