"""How many seconds and tokens played answers took when they were recorded, for all processes of a scope."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.names import cassette_path
from aquila.cassettes.storage.recording_slots import name_failure
from aquila.errors import AquilaError, CassetteCorrupt
from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple

if TYPE_CHECKING:
    from aquila.cassettes.answers import answer_usage
    from aquila.cassettes.model import RecordedRequest
    from aquila.recording.reporting.exchange_watch import ExchangeWatch
    from aquila.recording.runtime import Run
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
else:  # a run that replays mostly knows the tokens of its answers from the compiled copies of cassettes
    lazy_modules(globals(), "aquila.cassettes.answers: answer_usage")


class PlayedAnswer(NamedTuple):
    """An answer that was played: the seconds and tokens that it took, and when it was ``recorded``.

    A recording that answers several requests has taken them once: its further answers have 0.
    """

    seconds: float
    tokens: int
    recorded: str


class RecordedAnswer(NamedTuple):
    """An answer that was recorded: who gave it, and the seconds and tokens that it took (0 if it told no tokens).

    ``host`` is that of the request, or the upstream that took its place, such as ``local``. ``model`` may be "".
    ``failure`` names why the answer is no success, and is "" for a success.
    """

    host: str
    model: str
    seconds: float
    tokens: int
    failure: str = ""


def describe_recorded(interaction: Interaction) -> RecordedAnswer:
    """Sum up a recording that was made."""
    is_elsewhere = interaction.upstream not in ("", "live") and ":" not in interaction.upstream
    host = interaction.upstream if is_elsewhere else urlsplit(interaction.request.url).hostname or ""
    seconds, failure = interaction.response.ended / 1000, name_failure(interaction.response)
    return RecordedAnswer(host, interaction.model, seconds, count_tokens(interaction), failure)


def describe_played(interaction: Interaction) -> PlayedAnswer:
    """Sum up a recording that was played."""
    return PlayedAnswer(interaction.response.ended / 1000, count_tokens(interaction), interaction.recorded)


def tell_plays(scope: Scope, session: Session) -> Callable[[RecordedRequest, Interaction], None]:
    """Return a function that tells the parent process of each recording that is played here in its ``scope``."""
    messages = scope.child_messages

    # Found by identity, which is safe because the session never replaces its cassette and keeps it alive. Made with the
    # first answer that is played, since most child processes play none.
    @functools.cache
    def numbers() -> dict[int, int]:
        return {id(each): number for number, each in enumerate(session.cassette.interactions)}

    def tell(request: RecordedRequest, interaction: Interaction) -> None:
        played = describe_played(interaction)
        place = [session.name, numbers().get(id(interaction), -1)]
        messages.tell_play(scope.id, [played.seconds, played.tokens, played.recorded, *place])

    return tell


def tell_block_plays(scope: Scope) -> None:
    """Tell the run of tests, which may write a report, what a block of this process that has ended has played.

    With filters the numbers of recordings are not those of the file, so nothing is told.
    """
    for session in scope.sessions.opened() if scope.filters is None else ():
        played = session.plays.in_order(here=True) if session.mode == "replay" else ()
        if played:
            numbers = {id(each): number for number, each in enumerate(session.cassette.interactions)}
            path = cassette_path(scope.settings.cassette_root(), session.name).absolute()
            scope.child_messages.tell_block_plays(scope.id, str(path), [numbers[id(each)] for each in played])


def note_block_plays(run: Run, watch: ExchangeWatch) -> None:
    """Note what blocks of child processes have played since the last call, for the report of ``run``."""
    told = run.told_by_children
    for path, numbers in told.take_block_plays() if told is not None else ():
        with suppress(AquilaError, OSError):  # the file is gone by now
            recordings = load_cassette(Path(path)).interactions
            for number in numbers:
                if 0 <= number < len(recordings):
                    watch.note_block_play_elsewhere(Path(path), number, recordings[number])


def plays_of(scope: Scope, rows: Sequence[Any]) -> list[PlayedAnswer]:
    """Return what was played in a closed scope, by this process and by others. ``rows`` are their messages."""
    told = list(_read_rows(scope, rows)) if rows else []
    played: list[PlayedAnswer] = []
    places: set[tuple[str, int]] = set()  # of what was played here, as other processes name it
    for session in scope.sessions.opened():
        # Plays that other processes told are also in the counts. Plays of a worker in another container are only there.
        seen: set[int] = set()
        for interaction in session.plays.in_order(here=bool(told)):
            is_new = id(interaction) not in seen  # else its tokens need not be counted again
            played.append(describe_played(interaction) if is_new else _repeated(interaction.recorded))
            seen.add(id(interaction))
        if told and seen:
            numbers = enumerate(session.cassette.interactions)
            places.update((session.name, number) for number, each in numbers if id(each) in seen)
    if told:
        adopt_plays(scope, rows)
    for answer, cassette, number in told:
        played.append(answer if (cassette, number) not in places else _repeated(answer.recorded))
        places.add((cassette, number))
    return played


def adopt_plays(scope: Scope, rows: Sequence[Any]) -> None:
    """Mark as played, in the sessions of a scope, what other processes have played. ``rows`` are their messages."""
    for row in rows:
        match row:
            case [_, _, _, str(cassette), int(number)]:
                for session in scope.sessions.opened_for(cassette):
                    if session.mode == "replay" and 0 <= number < len(session.cassette.interactions):
                        session.plays.add_plays_elsewhere([number])


def _repeated(recorded: str) -> PlayedAnswer:
    return PlayedAnswer(0.0, 0, recorded)


def _read_rows(scope: Scope, rows: Sequence[Any]) -> Iterator[tuple[PlayedAnswer, str, int]]:
    """Yield the answers that other processes played, each with its cassette and the number of the recording there."""
    for row in rows:
        match row:
            case [int() | float() as seconds, int(tokens), str(recorded), str(cassette), int(number)]:
                if scope.run.exchange_watch is not None:
                    _note_play(scope, scope.run.exchange_watch, cassette, number)
                yield PlayedAnswer(seconds, tokens, recorded), cassette, number


def _note_play(scope: Scope, watch: ExchangeWatch, cassette: str, number: int) -> None:
    """Note a recording that another process has played for the report of the run."""
    opened = scope.sessions.opened_for(cassette)
    with suppress(AquilaError, OSError):  # the file may be in a folder of that process alone, or gone by now
        path = cassette_path(scope.settings.cassette_root(), cassette)
        held = opened[0].cassette if opened else load_cassette(path)
        if 0 <= number < len(held.interactions):
            watch.note_play_elsewhere(scope, cassette, held.interactions[number])


def count_tokens(interaction: Interaction) -> int:
    """Return how many tokens an answer reports as used, or 0. In a conversation, the sum of all its answers."""
    known = interaction.response.known_tokens
    if known is not None:
        return known
    try:
        return answer_usage.tokens_of(interaction.response)
    except CassetteCorrupt:  # the file of a large body is missing; reading the body has raised that already
        return 0
