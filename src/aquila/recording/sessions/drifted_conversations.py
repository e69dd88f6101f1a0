"""Conversations that drift in their middle: what must not be sent, and what is recorded anew from its beginning.

A replayed answer gives ids that the provider does not know any more. If a request that has to be recorded names one of
them, the provider could only answer with an error, so the request is not sent. pytest may run the test once more with
the recordings of that conversation put aside; see ``docs/cassettes-and-testing.md``. Only runs that record do any of
this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from aquila.cassettes.matching.linked_recordings import find_conversation
from aquila.cassettes.matching.provider_ids import ids_named_by
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage import journal
from aquila.errors import ConversationDrifted
from aquila.recording import runtime
from aquila.recording.reporting.child_messages import ChildMessages

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest


def keys_put_aside(cassette: str) -> frozenset[str]:
    """Return the keys of the recordings of a cassette that are put aside now."""
    run = runtime.current_run()
    known = run.repetition.keys
    if not known and run.make_outcome is None:
        known = run.state_of(ChildMessages).read_anew()
    return frozenset(known.get(cassette, ()))


class UnknownId(NamedTuple):
    """An id in a request that no provider knows.

    ``where`` says at which place of the request it stands. The recording ``number`` (from 0) of ``session`` gave it.
    ``conversation`` are the recordings that belong together with that one, as sessions with numbers. ``held_by`` is a
    scope that has one of them and whose code does not run again together with the request's; None if there is none.
    """

    where: str
    session: Session
    number: int
    conversation: Sequence[tuple[Session, int]]
    held_by: Scope | None

    @property
    def keys(self) -> Mapping[str, Sequence[str]]:
        """The keys of the recordings, by cassette."""
        found: dict[str, dict[str, None]] = {}
        for session, number in self.conversation:
            found.setdefault(session.name, {})[session.given_ids.keys[number]] = None
        return {name: list(keys) for name, keys in found.items()}

    def describe(self) -> Iterator[str]:
        """Say why the request cannot be answered, in lines."""
        yield f"{self.where} names an id that was replayed from recording {self.number + 1} of {self.session.name}:"
        numbers: dict[str, list[str]] = {}
        for session, number in self.conversation:
            numbers.setdefault(session.name, []).append(str(number + 1))
        yield "the provider does not know it. Record the whole conversation again:"
        for name, each in numbers.items():
            yield f"  {'recording' if len(each) == 1 else 'recordings'} {', '.join(each)} of {name}"
        if self.held_by is not None:
            yield f"One of these is for {self.held_by.describe()}, which does not run again with one test."


def find_drift(
    scope: Scope, compare: Callable[[Session, MissedRequest], Explanation], session: Session, missed: MissedRequest
) -> ConversationDrifted | None:
    """Return why a request that is to be recorded must not be sent; None if it may be.

    ``missed`` was made in ``scope`` to ``session``. ``compare`` explains how it differs from the recordings.
    """
    unknown = find_unknown_id(scope, session, missed.request)
    if unknown is not None:
        explained = add_reason(compare(session, missed), scope, session, unknown)
        drifted = ConversationDrifted(explained.text, difference=explained.difference, group=explained.group)
        if will_repeat(scope, unknown):
            drifted.conversation = unknown.keys
        return drifted
    for each in (scope, *scope.around):
        if (earlier := each.misses.hear().drift) is not None:
            return _refuse_until_repetition(earlier, session, missed.request)
    return None


def find_unknown_id(scope: Scope, asking: Session, request: RecordedRequest) -> UnknownId | None:
    """Find an id that a replayed answer gave in a request that was made in ``scope`` to the session ``asking``."""
    unclosed = scope.run.scopes.unclosed()
    scopes = dict.fromkeys((scope, *scope.around, *unclosed))
    for each in scopes:
        if each.sessions.may_replay or each.ended_sessions:
            break
    else:  # nothing was replayed, and no id is unknown
        return None
    sources = list(_sessions_within(scopes))
    named = ids_named_by(request)
    found = [
        (which, each)
        for which, (giving, session) in enumerate(sources)
        for each in session.given_ids.find_in(named)
        if _was_replayed(giving, session, each.number) and not _was_given_live(each.value, sources)
    ]
    if not found:
        return None
    which, first = found[0]
    members = find_conversation([(at, each.number) for at, each in found], [each.given_ids for _, each in sources])
    held = (giving for giving, session in (sources[at] for at, _ in members) if _is_held(giving, session, asking))
    conversation = [(sources[at][1], number) for at, number in members]
    return UnknownId(first.where, sources[which][1], first.number, conversation, next(held, None))


def _is_held(scope: Scope, session: Session, asking: Session) -> bool:
    """Whether the recordings of a session stay as they are when the code that asks runs again."""
    return scope.is_shared or (session.mode == "replay" and asking.mode != "replay")


def _sessions_within(scopes: Iterable[Scope]) -> Iterator[tuple[Scope, Session]]:
    """Yield the sessions of some scopes from which running code may hold answers, each with its scope."""
    for each in scopes:
        sessions = (*each.sessions.opened(), *each.ended_sessions)
        yield from ((each, session) for session in sessions if not session.records_everything)


def _was_replayed(scope: Scope, session: Session, number: int) -> bool:
    """Whether the running code may have got the answer of a recording.

    Other processes of a scope tell what they played at its end. So every recording counts where another process takes
    part. Every recording also counts in a cassette that belongs to this scope alone.
    """
    if session.plays.was_played(number) or not scope.is_owner:
        return True
    if scope.owns_cassette and session.name == scope.default_cassette:
        return True
    return len(journal.find_journals_of(scope.settings.cassette_root(), scope.id)) > 1


def _was_given_live(value: str, sources: Sequence[tuple[Scope, Session]]) -> bool:
    """Whether a provider has given the same id by now. Servers that count theirs do."""
    sought = value.encode()
    for _, session in sources:
        for row in session.new_recordings:
            response = row.interaction.response
            if any(value in text for _, text in response.headers) or sought in response.body:
                return True
    return False


def will_repeat(scope: Scope, unknown: UnknownId) -> bool:
    """Whether a run that records runs the code of a scope once more because of this unknown id."""
    return unknown.held_by is None and _may_repeat(scope)


def is_always_repeated(scope: Scope) -> bool:
    """Whether a run that records runs the code of a scope once more, whatever unknown id it names."""
    others = scope.run.scopes.unclosed()
    return _may_repeat(scope) and not any(each.is_shared and each.sessions.opened() for each in others)


def _may_repeat(scope: Scope) -> bool:
    run = scope.run
    if run.make_outcome is not None:
        return run.repetition.is_possible
    messages = scope.child_messages  # of a child process: its parent decides, and has not decided yet
    is_shared = any(messages.is_shared(each.id) for each in (scope, *scope.around))
    return messages.folder is not None and not messages.read_anew() and not is_shared


def add_reason(explained: Explanation, scope: Scope, session: Session, unknown: UnknownId) -> Explanation:
    """Add to an explanation why the request could not be sent, and what happens next or what to type."""
    lines = ["", *unknown.describe()]
    if will_repeat(scope, unknown):
        lines += ["", "It was not sent. The test runs once more, and asks the provider for all of these."]
    else:
        lines += [
            "",
            "To record all of these anew:",
            "",
            f"  {(unknown.held_by or scope).record_command(everything=True)}",
        ]
    return replace(explained, text=explained.text + session.redactor.redact_text("\n".join(["", *lines])))


def repeats_conversations(scope: Scope) -> bool:
    """Whether a run that records runs the code of a scope once more because a WebSocket conversation has changed."""
    return not scope.is_shared and _may_repeat(scope)


def drift_within(scope: Scope, session: Session, key: str) -> tuple[Mapping[str, Sequence[str]], list[str]]:
    """Return what to record anew where a message differs within a replayed WebSocket conversation.

    The whole conversation must be recorded, because a new connection to the provider has none of the earlier messages.
    Return its recordings as ``ConversationDrifted.conversation`` holds them, and lines for the explanation. ``key`` is
    the key of the handshake.
    """
    if repeats_conversations(scope):
        told = "It was not sent. The test runs once more, and records the whole conversation anew."
        return {session.name: [key]}, [told]
    return {}, ["To record the conversation anew:", "", f"  {scope.record_command(everything=True)}"]


def _refuse_until_repetition(
    drifted: ConversationDrifted, session: Session, request: RecordedRequest
) -> ConversationDrifted:
    """Return the error for a request of a test that runs once more anyway: its answer would be thrown away."""
    asked = session.redactor.redact_text(f"{request.method} {request.url}")
    refused = ConversationDrifted(
        f"{asked} was not sent: the test runs once more, because a conversation of it has drifted ({drifted.sentence})"
    )
    refused.conversation = drifted.conversation
    return refused
