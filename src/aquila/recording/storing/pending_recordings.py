"""Compares pending files with their cassettes, and tells of them where a request misses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.matching import request_key
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.merging import recordings_by_slot
from aquila.cassettes.storage.recording_slots import name_failure
from aquila.errors import AquilaError
from aquila.recording.storing.pending_files import accept_command, find_pending_files, shown_path
from aquila.recording.storing.recording_age import describe_age, latest_moment

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest


@dataclass(frozen=True, slots=True)
class PendingContent:
    """What a pending file holds, compared with its cassette.

    ``count`` is the number of recordings. ``new`` of them are of requests that the cassette lacks, and ``changed`` have
    other answers than in the cassette. ``gone`` recordings of the cassette are not in the file. ``failures`` names each
    failed answer, such as ``401``. ``models`` are those that answered. ``recorded`` is the time of the latest one, or
    "".
    """

    count: int
    new: int
    changed: int
    gone: int
    failures: tuple[str, ...]
    models: tuple[str, ...]
    recorded: str

    def describe(self) -> str:
        """Return it in words: ``3 recordings (1 new, 2 changed), 1 failed (429), of gpt-4.1, 2 hours old``."""
        parts = [(self.new, "new"), (self.changed, "changed"), (self.gone, "gone")]
        differing = ", ".join([f"{number:,} {what}" for number, what in parts if number])
        text = f"{self.count:,} {'recording' if self.count == 1 else 'recordings'} ({differing or 'all as they were'})"
        kinds = ", ".join(dict.fromkeys(self.failures))
        more = [
            f"{len(self.failures):,} failed ({kinds})" if kinds else "",
            f"of {', '.join(self.models)}" if self.models else "",
            describe_age(self.recorded),
        ]
        return ", ".join([text, *filter(None, more)])


def compare_pending(
    stored: Cassette, pending: Cassette, identify_request: Callable[[RecordedRequest], str]
) -> PendingContent:
    """Say what a pending file holds. ``identify_request`` gives a stored request its key."""
    before, now = (recordings_by_slot(each, identify_request) for each in (stored, pending))
    return PendingContent(
        count=len(now),
        new=len(now.keys() - before.keys()),
        changed=sum(slot in before and before[slot] != one for slot, one in now.items()),
        gone=len(before.keys() - now.keys()),
        failures=tuple(filter(None, [name_failure(one.response) for one in now.values()])),
        models=tuple(sorted({one.model for one in now.values()} - {""})),
        recorded=latest_moment(now.values()),
    )


def mention_pending(explained: Explanation, scope: Scope, session: Session, missed: MissedRequest) -> Explanation:
    """Add to the explanation of a miss what the pending file of the cassette holds, if there is one."""
    root = scope.settings.cassette_root()
    with suppress(OSError):  # a folder that cannot be read: the explanation of the miss is needed all the same
        files = find_pending_files(root, session.name)
        if files:
            usual = scope.run.layers.resolve().cassette_root()
            lines = [line for path in files for line in _describe_file(path, session, missed)]
            lines += ["", *(f"  {accept_command(path, root, usual_root=usual)}" for path in files[:1])]
            added = session.redactor.redact_text("\n".join(["", "", *lines]))
            return replace(explained, text=explained.text + added)
    return explained


def answers(scope: Scope, session: Session, missed: MissedRequest) -> bool:
    """Whether a pending file of the cassette has an answer to a missed request, and no failure."""
    with suppress(AquilaError, OSError):
        for path in find_pending_files(scope.settings.cassette_root(), session.name):
            found = _find_answers(cassette_files.load_cassette(path), session, missed)
            if not all(name_failure(each.response) for each in found):
                return True
    return False


def _describe_file(path: Path, session: Session, missed: MissedRequest) -> Iterator[str]:
    shown = shown_path(path)
    try:
        pending = cassette_files.load_cassette(path)
    except (AquilaError, OSError):
        yield f"{shown} waits to be accepted, and cannot be read."
        return
    content = compare_pending(session.cassette, pending, session.key_of)
    yield f"{shown} waits to be accepted:"
    yield f"{content.describe()}."
    answers = _find_answers(pending, session, missed)
    failures = [name_failure(each.response) for each in answers]
    if answers and all(failures):
        kinds = ", ".join(dict.fromkeys(failures))
        yield f"It has only a failure for this request ({kinds}). To store it all the same:"
    elif answers:
        yield "It answers this request. To store it:"
    else:
        yield "It does not answer this request. To store it all the same:"


def _find_answers(pending: Cassette, session: Session, missed: MissedRequest) -> list[Interaction]:
    """Return the recordings that would answer a request if they were in the cassette, of other hosts where allowed."""
    key = session.key_of(missed.request)
    keyed = [(session.key_of(each.request), each) for each in pending.interactions]
    found = [each for known, each in keyed if known == key]
    if not (found or missed.compares_origin):
        content = request_key.without_origin(key)
        found = [each for known, each in keyed if request_key.without_origin(known) == content]
    return found[missed.recording_count :]  # the first ones would have answered the equal requests before
