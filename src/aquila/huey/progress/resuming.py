"""Streams that go on where an earlier execution of their task has stopped.

The text so far of a stream is stored with a digest of its request, and a stream with the same request finds it. A
complete answer becomes a checkpoint, because there is only one place for a text so far and the next stream of the task
needs it. A task may send the same request several times: each time has a key of its own, in the order in which the
streams begin.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from aquila.engine.streams.cut_answers import (
    CutAnswer,
    Prefill,
    reject_unresumable,
    stored_response,
    whole_response,
)
from aquila.errors import ConfigError, NotSerializable
from aquila.events import Chunk, Done, Event, Refusal, Usage
from aquila.huey.limits.idempotency import digest_of_request
from aquila.huey.progress.storage_patience import logger
from aquila.huey.tasks.running_task import CurrentTask
from aquila.spelling import suggest_name

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan
    from aquila.engine.calls.options import Options
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.sync_stream import Stream
    from aquila.response import Response

Resume: TypeAlias = Literal["continue", "replay"]
RESUMES: tuple[str, ...] = get_args(Resume)

_CHECKPOINT = "aquila.stream."
_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
_META = ("model", "finish_reason", "id", "request_id")
"""The fields of ``meta`` that are kept of a complete answer."""


@dataclass(slots=True)
class KeptAnswer:
    """The part of an answer that was kept.

    - ``pieces``: the texts of its chunks.
    - ``usage``: the tokens of the requests that reported them.
    - ``requests``: how many requests were made for it; ``unreported``: how many of them reported no usage.
    - ``meta``: some fields of the response; only a complete answer has it.
    """

    pieces: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=lambda: Usage(reported=False))
    requests: int = 0
    unreported: int = 0
    meta: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def resumed(self) -> dict[str, int]:
        """The value of ``meta["resumed"]``."""
        return {"characters": len(self.text), "requests": self.requests, "unreported": self.unreported}

    def to_stored(self, count: int) -> dict[str, Any]:
        """Return the fields that are stored beside the text of the first ``count`` pieces."""
        return {
            "lengths": _pack_lengths(self.pieces[:count]),
            "usage": [getattr(self.usage, name) for name in _COUNTS] if self.usage.reported else None,
            "requests": self.requests,
            "unreported": self.unreported,
            "meta": None if self.meta is None else dict(self.meta),
        }

    @classmethod
    def from_stored(cls, text: str, about: Mapping[str, Any]) -> KeptAnswer:
        """Return the stored answer, from its text and the fields beside it."""
        lengths, usage = _unpack_lengths(about["lengths"]), about["usage"]
        pieces = [text[end - length : end] for end, length in zip(accumulate(lengths), lengths, strict=True)]
        counted = Usage(reported=False) if usage is None else Usage(**dict(zip(_COUNTS, usage, strict=True)))
        return cls(pieces, counted, about["requests"], about["unreported"], about["meta"])


def _pack_lengths(pieces: list[str]) -> bytes:
    """Return the lengths of pieces as one value: a long answer has more pieces than a message may have objects."""
    return struct.pack(f"<{len(pieces)}I", *map(len, pieces))


def _unpack_lengths(packed: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(packed) // 4}I", packed))


class FollowedAnswer:
    """The answer of a stream that is followed: the part that an earlier execution has kept, and the new part.

    The thread that reads the stream changes it. The thread of ``TaskWatch`` calls ``store`` meanwhile, which only reads
    the pieces that were there when it began.
    """

    def __init__(
        self, current: CurrentTask, plan: CallPlan, resume: Resume | None, continue_by: str | Prefill | None
    ) -> None:
        """``plan`` is that of the call. The other parameters are those of ``follow``. Raises ``ConfigError`` for a call
        that cannot be resumed.
        """
        check_resume(resume, continue_by, plan.options)
        self.current = current
        self._plan = plan
        self._resume = resume
        self._continue_by = continue_by
        self._digest: str | None = None if resume is None else digest_of(plan)
        self._key: str | None = None
        """The digest with the number of its use in this execution; None before the stream has begun."""
        self._before = KeptAnswer()  # The part that an earlier execution has kept.
        self._cut: CutAnswer | None = None  # Joins the new chunks to that part; None where there is none.
        self._usage = Usage(reported=False)  # That of the requests of this execution.
        self._pieces: list[str] = []  # All pieces so far, also those from before. Only appended to.
        self._stored = 0  # How many of the pieces are stored.
        self._is_refusal = False
        self.response: Response | None = None
        """The response of the whole answer, once it is complete."""

    def load(self) -> None:
        """Look for a kept part of the answer. Raises what the storage raises, as ``KeptProgress.load_checkpoints``."""
        if self._digest is None:
            return
        kept = self.current.kept
        self._key = kept.take_key(self._digest)
        complete = kept.load_checkpoints().get(_CHECKPOINT + self._key)
        if complete is not None:
            self._before = found = KeptAnswer.from_stored(complete["text"], complete)
            self.response = stored_response(
                self._plan, found.text, usage=found.usage, meta=complete["meta"], resumed=found.resumed
            )
            return
        stored = kept.load_partial()
        if stored is None or len(stored) < 3:  # Without the third part: of a stream without `resume=`.
            return
        if stored[2]["key"] != self._key:
            logger.info(
                "task %s: what it kept belongs to another stream, so this one starts from the beginning",
                self.current.id,
            )
            return
        self._before = found = KeptAnswer.from_stored(stored[1], stored[2])
        self._pieces, self._stored = list(found.pieces), len(found.pieces)
        self._cut = CutAnswer(found.text, self._continue_by)

    def prepare(self, stream: Stream | AsyncStream) -> None:
        """Change the request of a stream, before it is sent, to one for the missing part of the answer."""
        if self.response is not None:
            stream._state.response = self.response
        elif self._cut is not None:
            stream._replan(self._cut.continue_plan(self._plan))

    def events_before(self) -> list[Event]:
        """Return the events that come before those of the stream. For a complete answer these are all."""
        tags: dict[str, Any] = {"ref": self._plan.ref, "metadata": self._plan.options.metadata}
        events: list[Event] = []
        if self._resume == "replay":
            events += [Chunk(piece, **tags) for piece in self._before.pieces]
        if self.response is not None:
            events.append(Done(self.response, **tags))
        return events

    def take(self, event: Event) -> Event | None:
        """Take an event of the stream. Return the event to hand out, or None where it only repeats what was kept."""
        if isinstance(event, Chunk):
            text = event.text if self._cut is None else self._cut.join(event.text)
            if not text:
                return None
            self._pieces.append(text)
            return event if text is event.text else dataclasses.replace(event, text=text)
        if isinstance(event, Usage):
            self._usage += event
        elif isinstance(event, Refusal):
            self._is_refusal = True
        elif isinstance(event, Done):
            self.response = event.response
            if self._before.requests:
                self.response = whole_response(
                    event.response,
                    "".join(self._pieces),
                    self._plan,
                    usage=self._before.usage,
                    resumed=self._before.resumed,
                )
                return dataclasses.replace(event, response=self.response)
        return event

    def keep_complete(self) -> None:
        """Keep the complete answer, so that no later execution of the task asks for it again.

        An answer that the serializer refuses fails nothing: the task has it, and it is paid for.
        """
        # A refusal is not kept: a retry may get an answer.
        if self._key is not None and self.response is not None and not self.response.refusal:
            meta = {name: self.response.meta.get(name) for name in _META}
            stored = self._known(meta).to_stored(len(self._pieces))
            try:
                self.current.kept.store_checkpoint(_CHECKPOINT + self._key, {"text": "".join(self._pieces), **stored})
            except NotSerializable as refusal:
                logger.warning(
                    "task %s: its answer is complete and not kept, so a retry asks for it again: %s",
                    *(self.current.id, refusal),
                )

    def store(self) -> None:
        """Store the text so far, if there is more of it than at the last time. Raises what the storage raises."""
        # The count comes first: the reader may append while this thread joins the pieces.
        count = len(self._pieces)
        if count == self._stored:
            return
        value: list[Any] = [self.current.attempt, "".join(self._pieces[:count])]
        if self._key is not None and not self._is_refusal:
            value.append({"key": self._key, **self._known().to_stored(count)})
        self.current.kept.store_partial(value)
        self._stored = count

    def end(self) -> None:
        """Let the next stream with the same request go on with this answer, unless the answer is complete."""
        if self._key is not None and self.response is None:
            self.current.kept.give_key_back(self._key)

    def _known(self, meta: Mapping[str, Any] | None = None) -> KeptAnswer:
        return KeptAnswer(
            self._pieces,
            self._before.usage + self._usage,
            self._before.requests + 1,
            self._before.unreported + (not self._usage.reported),
            meta,
        )


def check_resume(resume: str | None, continue_by: object, options: Options) -> None:
    """Raise ``ConfigError`` for an unknown way to resume, and for a call whose answer cannot be resumed.

    The parameters are those of ``follow``, and the options of the call.
    """
    # Checked even if nothing was cut so far: an error that comes only after a cut would lose what was paid for.
    if not isinstance(continue_by, str | Prefill | None):
        raise ConfigError(f"continue_by= is a text or a Prefill, not {continue_by!r}")
    if resume is None:
        return
    if resume not in RESUMES:
        raise ConfigError(f"resume={resume!r} is not known{suggest_name(str(resume), RESUMES)}")
    reject_unresumable(options)


def digest_of(plan: CallPlan) -> str:
    """Return a digest of the request of a call."""
    # Without the metadata, which may name the attempt and so would differ in each.
    request = plan.endpoint.build_request(plan.messages, plan.options, model=plan.model)
    request.pop("metadata", None)
    return digest_of_request([plan.endpoint.name, request, dict(plan.options.provider_options)])
