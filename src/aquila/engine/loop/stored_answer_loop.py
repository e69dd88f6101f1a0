"""The loop of a call about a stored answer: fetch it, cancel it, or wait until it is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.engine.calls.error_translation import ErrorContext
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints import responses
from aquila.engine.loop.steps import Steps
from aquila.engine.loop.tool_loop import RequestLoop
from aquila.errors import ProviderError

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan


class StoredAnswerLoop(RequestLoop):
    """Loop of a stored answer. ``id`` is the id that the provider gave the answer.

    ``path``: the SDK's method that fetches or cancels it. ``waits``: fetch it again until it is finished.
    """

    def __init__(
        self,
        plan: CallPlan,
        telemetry: Telemetry,
        error_context: ErrorContext,
        *,
        id: str,
        path: str,
        waits: bool = False,
    ) -> None:
        super().__init__(plan.options, telemetry, error_context)
        self.parser = responses.make_parser(self._tags)
        self._id = id
        self._path = path
        self._waits = waits

    def steps(self) -> Steps:
        """Fetch the answer, and fetch it again while it is unfinished and is waited for."""
        self._turns += 1
        answer = yield from self._fetch_answer({"response_id": self._id}, self._path)
        try:
            if self._waits:
                answer = yield from self._fetch_until_finished(answer, responses)
            yield from self._read_complete_answer(answer)
            turn = self._read(self.parser.finish)
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__
        self._telemetry.report_request_stop(turn)
        calls = [self._tool_call_event(call) for call in turn.message.calls]
        self.result = self._make_response(turn, usage=turn.usage, messages=(turn.message,), calls=calls)
