"""What a process has to say of one execution of a job, until it is stored."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from aquila.huey.live.events import MOST_IN_BATCH, REASONING, TEXT, encode_batch
from aquila.huey.live.redacting import redact_text
from aquila.huey.live.summaries import JobRun, JobSummary

MOST_TEXT = 1_000_000
"""How many characters of an execution are published. Of those that follow only their number is."""

_MOST_EVENTS = 5_000
_TAIL = 160
_LONGEST_WORD = 4_000
"""Characters at the end of a text that are looked at, and held back if they may be the beginning of a key."""
_KEPT_TAIL = 2 * _LONGEST_WORD + _TAIL
"""Characters of the end of an answer that are kept to be shown: a part of them may have to be left out."""
_LONGEST_KEY = 131_072
"""The same of characters that keys have in such lengths. No variable of an environment is longer on Linux."""

# Keys are ASCII, and in scripts without spaces nothing is held back. Nor is JSON without spaces held back for long.
_OF_WORDS = "".join(map(chr, range(0x21, 0x7F)))
_OF_LONG_KEYS = _OF_WORDS.translate(dict.fromkeys(map(ord, "\"'`{}[]()<>,;")))


def clean_tail(text: str, *, is_over: bool = True) -> str:
    """Return the end of an answer without secrets, as it is shown. Cut afterwards: a part of a key is not known.

    ``is_over``: nothing follows it. Else the last word is left out, which may be the beginning of a key.
    """
    was_cut = len(text) >= _KEPT_TAIL
    if not is_over:
        text = text[: len(text) - _count_unfinished(text)]
    if not was_cut:
        return redact_text(text)[-_TAIL:]
    # Its beginning may be the end of a key.
    return redact_text(text.lstrip(_OF_LONG_KEYS))[_LONGEST_WORD:][-_TAIL:]


def _count_unfinished(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a key."""
    word, key = text[-_LONGEST_WORD:], text[-_LONGEST_KEY:]
    return max(len(word) - len(word.rstrip(_OF_WORDS)), len(key) - len(key.rstrip(_OF_LONG_KEYS)))


Pending = tuple[str, float, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StoragePlace:
    """Where something is published: the storage that a Huey had at the time. A test gives a Huey another for a while.

    ``state_of`` and ``wake_subscribers`` take it in the place of a Huey.
    """

    storage: Any


class JobRecord:
    """One execution, or what is known before any. Its owner holds a lock around every method.

    ``batch`` is what was taken out to be stored and is not known to be stored; ``number`` is the next batch's, and 0
    while nobody has looked what there is.
    """

    def __init__(self, place: StoragePlace, summary: JobSummary, run: JobRun | None) -> None:
        self.place = place
        self.summary = summary
        self.run = run
        self.is_changed = False
        self.is_over = False
        self.error = ""  # why it ended without a run
        self.batch: bytes | None = None
        self.number = 0
        self.failures = 0
        self.stored_at = float("-inf")
        self._pending: list[Pending] = []
        self._published = 0
        self._events = 0
        self._writer = uuid.uuid4().hex[:12]

    def add_event(self, kind: str, at: float, **data: Any) -> None:
        """Add an event. One too many is left out, unless the execution ends with it."""
        self._events += 1
        if self._events <= _MOST_EVENTS or self.is_over:
            self._pending.append((kind, at, data))

    def add_text(self, kind: str, at: float, text: str, *, content: bool) -> None:
        """Add a piece of text. Those that come before the next batch become one event."""
        if self.run is not None and kind == TEXT:
            self.run.characters += len(text)
            if content:
                self.run.tail = (self.run.tail + text)[-_KEPT_TAIL:]
        was_published, self._published = self._published, self._published + len(text)
        last = self._pending[-1] if self._pending else None
        if content and was_published <= MOST_TEXT < self._published and last is not None and last[0] == kind:
            before = last[2]["text"]  # Its end is not followed by the rest of what may be a key.
            last[2]["text"] = before[: len(before) - _count_unfinished(before)]
        if not content or self._published > MOST_TEXT:
            return
        if last is not None and last[0] == kind:
            last[2]["text"] += text
        else:
            self._pending.append((kind, at, {"text": text}))

    @property
    def has_more(self) -> bool:
        """Whether there is something to store."""
        return bool(self._pending) or self.batch is not None or self.is_changed

    def take_batch(self) -> list[Pending]:
        """Take out the events of the next batch."""
        batch, self._pending = self._pending[:MOST_IN_BATCH], self._pending[MOST_IN_BATCH:]
        if batch and not self._pending and not self.is_over and batch[-1][0] in (TEXT, REASONING):
            self._hold_last_word(batch)
        return batch

    def _hold_last_word(self, batch: list[Pending]) -> None:
        """Keep the last word for the next batch: a key that comes in two pieces would be recognized in neither."""
        kind, at, data = batch[-1]
        if held := _count_unfinished(data["text"]):
            self._pending.append((kind, at, {"text": data["text"][-held:]}))
            data["text"] = data["text"][:-held]
            if not data["text"]:
                batch.pop()

    def encode(self, events: list[Pending]) -> bytes:
        """Return a batch as it is stored."""
        return encode_batch(self._writer, self.run.key if self.run else "", events)

    @property
    def has_events(self) -> bool:
        """Whether there are events to store."""
        return bool(self._pending) or self.batch is not None

    @property
    def must_be_stored(self) -> bool:
        """Whether something waits that is more than the last word of a text."""
        return self.is_changed or self.batch is not None or (self.is_over and bool(self._pending))
