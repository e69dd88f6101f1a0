"""Compares pending files with their cassettes, and tells of them where a request misses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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


def describe_pending(scope: Scope, session: Session, missed: MissedRequest) -> tuple[str, bool]:
    """Say what the pending files of a cassette mean for a missed request.

    Returns the text for the end of the explanation, "" if there are none, and whether one of them has an answer that is
    no failure.
    """
    root = scope.settings.cassette_root()
    with suppress(OSError):  # a folder that cannot be read: the explanation of the miss is needed all the same
        files = find_pending_files(root, session.name)
        if files:
            usual = scope.run.layers.resolve().cassette_root()
            found = [_describe_file(path, session, missed) for path in files]
            lines = [line for described, _ in found for line in described]
            lines += ["", *(f"  {accept_command(path, root, usual_root=usual)}" for path in files[:1])]
            return session.redactor.redact_text("\n".join(["", "", *lines])), any(answers for _, answers in found)
    return "", False


def _describe_file(path: Path, session: Session, missed: MissedRequest) -> tuple[list[str], bool]:
    shown = shown_path(path)
    try:
        pending = cassette_files.load_cassette(path)
    except (AquilaError, OSError):
        return [f"{shown} waits to be accepted, and cannot be read."], False
    content = compare_pending(session.cassette, pending, session.key_of)
    failures = [name_failure(each.response) for each in _find_answers(pending, session, missed)]
    if not failures:
        verdict = "It does not answer this request. To store it all the same:"
    elif all(failures):
        kinds = ", ".join(dict.fromkeys(failures))
        verdict = f"It has only a failure for this request ({kinds}). To store it all the same:"
    else:
        verdict = "It answers this request. To store it:"
    return [f"{shown} waits to be accepted:", f"{content.describe()}.", verdict], not all(failures)


def _find_answers(pending: Cassette, session: Session, missed: MissedRequest) -> list[Interaction]:
    """Return the recordings that would answer a request if they were in the cassette, of other hosts where allowed."""
    key = session.key_of(missed.request)
    keyed = [(session.key_of(each.request), each) for each in pending.interactions]
    found = [each for known, each in keyed if known == key]
    if not (found or missed.compares_origin):
        content = request_key.without_origin(key)
        found = [each for known, each in keyed if request_key.without_origin(known) == content]
    return found[missed.recording_count :]  # the first ones would have answered the equal requests before
