"""The events and the summary of one execution of a job, in memory until they are stored, and how they are stored."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

from aquila.huey.live.events import MOST_IN_BATCH, REASONING, TEXT, encode_batch
from aquila.huey.live.redacting import redact_text
from aquila.huey.live.summaries import JobRun, JobSummary, decode_summary

MOST_TEXT = 1_000_000
"""How many characters of an execution are published. The rest is only counted."""

_MOST_EVENTS = 5_000
_TAIL = 160  # Characters of the end of an answer that the overview shows.
_LONGEST_WORD = 4_000
"""Characters at the end of a text that are held back if they may be the beginning of a key."""
_KEPT_TAIL = 2 * _LONGEST_WORD + _TAIL
"""Characters of the end of an answer that are kept: more than are shown, because some may have to be left out."""
_LONGEST_KEY = 131_072
"""Characters that are held back if all of them may belong to a long key. On Linux no environment variable is longer."""

# Keys consist of ASCII, so texts in scripts without spaces are not held back. Long keys have none of the characters
# that JSON has between values, so JSON without spaces is not held back for long.
_OF_WORDS = "".join(map(chr, range(0x21, 0x7F)))
_OF_LONG_KEYS = _OF_WORDS.translate(dict.fromkeys(map(ord, "\"'`{}[]()<>,;")))


def clean_tail(text: str, *, is_over: bool = True) -> str:
    """Return the end of an answer without secrets, as the overview shows it.

    ``is_over`` says that nothing follows the text. Otherwise its last word, which may be the beginning of a key, is
    left out.
    """
    # Redacted first and cut after that, because no rule recognizes a part of a key.
    was_cut = len(text) >= _KEPT_TAIL
    if not is_over:
        text = text[: len(text) - _count_unfinished(text)]
    if not was_cut:
        return redact_text(text)[-_TAIL:]
    # The text was cut in front, so its first word may be the end of a key.
    return redact_text(text.lstrip(_OF_LONG_KEYS))[_LONGEST_WORD:][-_TAIL:]


def _count_unfinished(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a key."""
    word, key = text[-_LONGEST_WORD:], text[-_LONGEST_KEY:]
    return max(len(word) - len(word.rstrip(_OF_WORDS)), len(key) - len(key.rstrip(_OF_LONG_KEYS)))


Pending = tuple[str, float, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StoragePlace:
    """The storage to which something is published: the one that a Huey had at that time, because a test replaces it.

    ``state_of`` and ``wake_subscribers`` accept it instead of a Huey: they only look at ``storage``.
    """

    storage: Any


class JobRecord:
    """One execution of a job, or the end of a job that was never executed.

    ``JobPublisher.records`` owns it until everything is stored. The tasks of the job and the thread that stores both
    change it, under the lock of the publisher; only the thread that stores changes ``batch``, ``number`` and
    ``failures``, and holds its own lock.
    """

    def __init__(self, place: StoragePlace, summary: JobSummary, run: JobRun | None) -> None:
        self.place = place
        self.summary = summary
        self.run = run
        self.is_changed = False  # Whether the summary must be stored.
        self.is_over = False  # Whether the execution has ended. Set once.
        self.error = ""  # Why the job ended without a run.
        self.batch: bytes | None = None  # Events that were taken out and are not known to be stored.
        self.number = 0  # That of the next batch; 0 while it is not known which numbers are taken.
        self.failures = 0  # How often storing has failed because of the data itself.
        self.stored_at = float("-inf")  # When the summary was last stored, by the monotonic clock.
        self._pending: list[Pending] = []  # Events that were not taken out yet.
        self._published = 0  # Characters of text so far.
        self._events = 0  # Events so far, without pieces of text.
        self._writer = uuid.uuid4().hex[:12]

    def add_event(self, kind: str, at: float, **data: Any) -> None:
        """Add an event. Beyond ``_MOST_EVENTS`` only the event with which the execution ends is added.

        ``at`` is in seconds since the epoch.
        """
        self._events += 1
        if self._events <= _MOST_EVENTS or self.is_over:
            self._pending.append((kind, at, data))

    def add_text(self, kind: str, at: float, text: str, *, content: bool) -> None:
        """Add a piece of text. All pieces of one kind before the next batch become one event.

        Without ``content`` its characters are only counted.
        """
        if self.run is not None and kind == TEXT:
            self.run.characters += len(text)
            if content:
                self.run.tail = (self.run.tail + text)[-_KEPT_TAIL:]
        was_published, self._published = self._published, self._published + len(text)
        last = self._pending[-1] if self._pending else None
        if content and was_published <= MOST_TEXT < self._published and last is not None and last[0] == kind:
            # This is the last text that is published. Its last word may be the beginning of a key whose rest is not
            # published, and so would not be recognized.
            before = last[2]["text"]
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
        return self.has_events or self.is_changed

    def take_batch(self) -> list[Pending]:
        """Remove and return the events of the next batch."""
        batch, self._pending = self._pending[:MOST_IN_BATCH], self._pending[MOST_IN_BATCH:]
        if batch and not self._pending and not self.is_over and batch[-1][0] in (TEXT, REASONING):
            self._hold_last_word(batch)
        return batch

    def _hold_last_word(self, batch: list[Pending]) -> None:
        """Put the last word back for the next batch: a key in two pieces would be recognized in neither of them."""
        kind, at, data = batch[-1]
        if held := _count_unfinished(data["text"]):
            self._pending.append((kind, at, {"text": data["text"][-held:]}))
            data["text"] = data["text"][:-held]
            if not data["text"]:
                batch.pop()

    def encode(self, events: list[Pending]) -> bytes:
        """Return events as the bytes of a batch."""
        return encode_batch(self._writer, self.run.key if self.run else "", events)

    @property
    def has_events(self) -> bool:
        """Whether there are events to store."""
        return bool(self._pending) or self.batch is not None

    @property
    def must_be_stored(self) -> bool:
        """Whether something waits to be stored that is more than the held-back last word of a text."""
        return self.is_changed or self.batch is not None or (self.is_over and bool(self._pending))


@dataclass(frozen=True, slots=True)
class SummaryUpdate:
    """A change of a job's summary, which another process may have changed before.

    ``run`` is a copy of the execution, or None for a job that ended without one. ``at`` is the time by the clock of the
    storage, ``began`` by the monotonic clock of this process.
    """

    record: JobRecord
    run: JobRun | None
    at: float
    began: float

    def merge(self, present: bytes | None) -> bytes:
        """Return ``present``, the stored summary or None, with the changes of this execution."""
        record = self.record
        known = decode_summary(record.summary.id, present) or replace(record.summary, runs=[])
        # The message of a retry may have been given up before this process publishes that there is one.
        is_given_up = (
            known.ended_as == "failed"
            and self.run is not None
            and self.run.state == "retrying"
            and self.run.started < known.changed
        )
        known.changed = self.at
        known.name = known.name or record.summary.name
        known.arguments = known.arguments or record.summary.arguments
        known.ended_as = "failed" if is_given_up else record.summary.ended_as
        if record.summary.ended_as == "failed":
            known.fail_last_run(self.at, record.error)
        if self.run is not None:
            known.put_run(self.run)
        return known.encode()
