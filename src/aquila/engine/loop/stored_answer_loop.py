"""The loop of a stored answer: it is fetched or cancelled, and waited for if that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.engine.calls.error_translation import ErrorContext, decode_json_answer
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints import responses
from aquila.engine.loop.steps import RequestOutcome, SendRequest, Sleep, Steps
from aquila.engine.loop.tool_loop import RequestLoop
from aquila.errors import ProviderError
from aquila.events import Progress
from aquila.response import Response

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan


class StoredAnswerLoop(RequestLoop):
    """Loop of a stored answer: fetch or cancel it by ``path``, the SDK's method; with ``waits``, until it is finished.

    ``id`` is the id that the provider gave the answer.
    """

    def __init__(
        self, plan: CallPlan, telemetry: Telemetry, where: ErrorContext, *, id: str, path: str, waits: bool = False
    ) -> None:
        super().__init__(plan.options, telemetry, where)
        self.parser = responses.make_parser(self._tags)
        self._id = id
        self._path = path
        self._waits = waits

    def steps(self) -> Steps:
        """Fetch the answer, and fetch it again while it is unfinished and is waited for."""
        self._turns += 1
        answer = yield from self._fetch_answer(self._path)
        while self._waits and responses.poll_request(answer) is not None:
            status = str(answer.get("status"))
            self._telemetry.report_request_stop()
            yield self._report_and_emit(Progress("response", status, ref=self.call.ref, metadata=self.call.metadata))
            if self.call.transport != "replay":  # recordings need no time to become ready
                yield Sleep(self._options.poll_interval)
            answer = yield from self._fetch_answer(self._path)
        try:
            yield self._report_and_emit(*self._read(lambda: self.parser.feed_complete_answer(answer)))
            turn = self._read(self.parser.finish)
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__
        self._telemetry.report_request_stop(turn)
        self.result = Response(
            text=turn.text,
            usage=turn.usage,
            meta={
                "ref": self.call.ref,
                "model": turn.model,
                "endpoint": "responses",
                "finish_reason": turn.finish_reason,
                "id": turn.id,
                "request_id": self._request_id,
                "metadata": self.call.metadata,
                "transport": self.call.transport,
                "turns": 1,
                "retries": self._retries,
                "stopped": None,
            },
            raw=turn.raw,
            messages=(turn.message,),
            reasoning=turn.reasoning,
            refusal=turn.refusal,
            tool_calls=tuple(self._tool_call_event(call) for call in turn.message.calls),
        )

    def _fetch_answer(self, path: str) -> Steps:
        outcome: RequestOutcome = yield from self._send_with_retries(
            lambda: SendRequest({"response_id": self._id}, path, unstreamed=True, generates=False)
        )
        return decode_json_answer(outcome.body or b"", outcome.headers, self.error_context)
