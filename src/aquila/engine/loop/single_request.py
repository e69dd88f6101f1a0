"""The loop of a call that is one request without tools, such as a transcription."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aquila.engine.calls.error_translation import ErrorContext
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.loop.steps import RequestOutcome, SendRequest, Steps
from aquila.engine.loop.tool_loop import RequestLoop
from aquila.errors import ProviderError

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan


class SingleRequest(RequestLoop):
    """Loop of a single request. ``path`` is the SDK's method, ``read`` turns its answer into the result of the call."""

    def __init__(
        self,
        plan: CallPlan,
        telemetry: Telemetry,
        error_context: ErrorContext,
        *,
        request: Mapping[str, Any],
        path: str,
        read: Callable[[SingleRequest, RequestOutcome], Any],
    ) -> None:
        super().__init__(plan.options, telemetry, error_context)
        self._request = request
        self._path = path
        self._api, _, _ = path.rpartition(".")
        self._read_answer = read

    def steps(self) -> Steps:
        """Send the one request."""
        self._turns += 1
        outcome: RequestOutcome = yield from self._send_with_retries(
            lambda: SendRequest(self._request, self._path, unstreamed=True)
        )
        self._telemetry.report_request_stop()
        try:
            self.result = self._read(lambda: self._read_answer(self, outcome))
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__
