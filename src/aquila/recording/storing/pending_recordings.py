"""Says what pending files hold, and tells of them where a request misses."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.matching import request_key
from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.recording_slots import name_failure
from aquila.errors import AquilaError
from aquila.plurals import count_of
from aquila.recording.storing.pending_files import accept_command, find_pending_files, shown_path
from aquila.recording.storing.recording_age import describe_age, latest_moment

if TYPE_CHECKING:
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest


@dataclass(frozen=True, slots=True)
class PendingContent:
    """What a pending file holds.

    ``count`` is the number of recordings. ``failures`` names each failed answer, such as ``401``. ``models`` are those
    that answered. ``recorded`` is the time of the latest one, or "".
    """

    count: int
    failures: tuple[str, ...]
    models: tuple[str, ...]
    recorded: str

    @classmethod
    def of(cls, pending: Cassette) -> PendingContent:
        """Say what the cassette in a pending file holds."""
        recordings = pending.interactions
        return cls(
            count=len(recordings),
            failures=tuple(filter(None, [name_failure(one.response) for one in recordings])),
            models=tuple(sorted({one.model for one in recordings} - {""})),
            recorded=latest_moment(recordings),
        )

    def describe(self, differing: str = "") -> str:
        """Return it in words: ``3 recordings, 1 failed (429), of gpt-4.1, 2 hours old``.

        ``differing`` says how it differs from its cassette.
        """
        kinds = ", ".join(dict.fromkeys(self.failures))
        more = [
            f"{len(self.failures):,} failed ({kinds})" if kinds else "",
            f"of {', '.join(self.models)}" if self.models else "",
            describe_age(self.recorded),
        ]
        text = count_of(self.count, "recording") + (f" ({differing})" if differing else "")
        return ", ".join([text, *filter(None, more)])


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
    content = PendingContent.of(pending)
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
