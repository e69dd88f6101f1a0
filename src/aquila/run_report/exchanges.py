"""Makes exchanges of a report from a request and its answer, or from a whole conversation."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.answers.answer_content import AnswerContent, read_provider_messages
from aquila.cassettes.answers.answer_usage import usage_of_response
from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.model import SWITCHED, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, NotAFrame, is_conversation, read_event
from aquila.errors import CassetteCorrupt
from aquila.run_report.bodies import LONGEST, LONGEST_END, Bodies
from aquila.run_report.costs import Costs
from aquila.run_report.large_answers import read_body_of
from aquila.run_report.requests import answer_messages, read_messages, read_parameters
from aquila.run_report.schema import Exchange, Frame, Text, Timing
from aquila.wire_forms.sent import SentRequest
from aquila.wire_forms.table import read_sent

MOST_CHUNKS = 1000
"""The greatest number of chunk times in an exchange."""

MOST_FRAMES = 500
"""The greatest number of messages of a conversation in an exchange: half from its beginning, half from its end."""


class ExchangeReader:
    """Makes exchanges. Long texts go to ``bodies``, and ``costs`` computes costs.

    Requests and answers must be redacted already.
    """

    def __init__(self, bodies: Bodies, costs: Costs | None = None) -> None:
        self.bodies = bodies
        self.costs = costs or Costs()

    def read(
        self, request: RecordedRequest, response: RecordedResponse | None, name: str, *, asked: int = 0
    ) -> Exchange:
        """Return an exchange with the id ``name`` from a request and its answer. Its states are not filled in.

        ``asked``: when the request was sent, in milliseconds since the test began.
        """
        sent = SentRequest("", http=request) if isinstance(request, StoredRequest) else read_sent(request)
        parts = urlsplit(request.url)
        exchange: Exchange = {
            "id": name,
            "kind": "websocket" if is_conversation(request) else "http",
            "states": [],
            "source": "none",
            "method": request.method,
            "host": parts.netloc.rpartition("@")[2],
            "path": parts.path + (f"?{parts.query}" if parts.query else ""),
            "messages": read_messages(sent, self.bodies),
            "timing": {"asked": asked},
            "request_headers": list(request.headers),
        }
        if sent.form:
            exchange["form"] = sent.form
            exchange["streamed"] = sent.is_streamed
        if sent.model:
            exchange["model"] = sent.model
        if sent.tools:
            exchange["tools"] = [tool.name for tool in sent.tools]
        if parameters := read_parameters(sent):
            exchange["parameters"] = parameters
        if request.size:
            exchange["request_body"] = self._request_body(request)
        if response is not None:
            self._add_response(exchange, response)
        return exchange

    def read_interaction(self, interaction: Interaction, name: str, *, asked: int = 0) -> Exchange:
        """Return the exchange of a recording. ``name`` and ``asked``: see ``read``."""
        exchange = self.read(interaction.request, interaction.response, name, asked=asked)
        if interaction.recorded:
            exchange["recorded"] = interaction.recorded
        if interaction.model:
            exchange["answered_by"] = interaction.model
        return exchange

    def _request_body(self, request: RecordedRequest) -> Text:
        media_type = request.first_header("content-type")
        if isinstance(request, StoredRequest):
            begin, end = request.file.first_bytes(LONGEST), request.file.last_bytes(LONGEST_END)
            return self.bodies.add_bytes(begin, media_type, end=end, size=request.size)
        return self.bodies.add_body(request.body, media_type)

    def _add_response(self, exchange: Exchange, response: RecordedResponse) -> None:
        exchange["status"] = response.status
        exchange["end"] = response.end
        if response.error:
            exchange["error"] = response.error
        exchange["response_headers"] = list(response.headers)
        timing = exchange["timing"]
        timing["first_byte"], timing["ended"] = response.started, response.ended
        try:
            if exchange["kind"] == "websocket" and response.status == SWITCHED:
                self._add_frames(exchange, response)
            else:
                self._add_body(exchange, response)
            self._add_usage(exchange, response)
        except CassetteCorrupt:  # the file of a large body is missing; the client got the error already
            exchange["error"] = "the file of this body is missing"

    def _add_body(self, exchange: Exchange, response: RecordedResponse) -> None:
        media_type = response.first_header("content-type")
        timing, chunks = exchange["timing"], response.chunks
        if isinstance(chunks, StoredChunks):
            sizes, times = chunks.sizes(), chunks.times()
        else:
            sizes, times = [len(each.data) for each in chunks], [each.at for each in chunks]
        body = read_body_of(response)
        if not body.size:
            return
        if media_type.startswith(("audio/", "image/", "video/")):
            exchange["response_body"] = self.bodies.add_image(body.begin, media_type, body.size)
            facts = AnswerContent()
        else:
            exchange["response_body"] = self.bodies.add_body(body.begin, media_type, end=body.end, size=body.size)
            facts = body.read()
            if body.left_out:
                exchange["answer_left_out"] = body.left_out
        self._add_answer(exchange, facts)
        _add_times(timing, sizes, times, facts)
        if response.status >= 400 and facts.error:
            exchange["error"] = facts.error

    def _add_answer(self, exchange: Exchange, facts: AnswerContent) -> None:
        answer = answer_messages(facts, self.bodies)
        if answer:
            exchange["answer"] = answer

    def _add_usage(self, exchange: Exchange, response: RecordedResponse) -> None:
        tokens = usage_of_response(response)
        usage = self.costs.add_cost(tokens, exchange.get("model", ""), exchange.get("answered_by", ""))
        if usage is not None:
            exchange["usage"] = usage

    def _add_frames(self, exchange: Exchange, response: RecordedResponse) -> None:
        chunks = response.chunks
        count = len(chunks)
        half = MOST_FRAMES // 2
        if count > MOST_FRAMES:
            exchange["frames_left_out"] = count - MOST_FRAMES
            shown: Iterator[int] = itertools.chain(range(half), range(count - half, count))
        else:
            shown = iter(range(count))
        frames: list[Frame] = []
        said_by_provider: list[bytes] = []
        for number in shown:
            try:
                said = read_event(chunks[number])
            except NotAFrame:
                continue
            if isinstance(said, Close):
                exchange["end"] = "closed" if said.by == "client" else "complete"
                exchange["error"] = f"closed by the {said.by} with {said.code}{said.reason and f': {said.reason}'}"
                if said.code in (1000, 1001, 1005):
                    del exchange["error"]
                continue
            if not said.sent:
                said_by_provider.append(said.data)
            frames.append(
                {
                    "direction": "sent" if said.sent else "received",
                    "kind": "text" if said.is_text else "binary",
                    "at": said.at,
                    "body": self.bodies.add_body(said.data),
                }
            )
        exchange["frames"] = frames
        exchange["timing"]["ended"] = max(response.ended, frames[-1]["at"] if frames else 0)
        self._add_answer(exchange, read_provider_messages(said_by_provider))
        if "model" not in exchange and (named := parse_qs(urlsplit(exchange["path"]).query).get("model")):
            exchange["model"] = named[0]


def _add_times(timing: Timing, sizes: Sequence[int], times: Sequence[int], facts: AnswerContent) -> None:
    if len(times) > 1:
        step = -(-len(times) // MOST_CHUNKS)
        timing["chunks"] = list(times[::step])
    if facts.first_at is not None and times:
        at = bisect.bisect_left(list(itertools.accumulate(sizes)), facts.first_at)
        timing["first_token"] = times[min(at, len(times) - 1)]
