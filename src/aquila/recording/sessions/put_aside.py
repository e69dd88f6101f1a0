"""Recordings that are put aside because a conversation has drifted: a session goes on as if there were none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import SWITCHED, Cassette, Interaction, RecordedRequest
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.web_socket_frames.frame import Frame, is_conversation, read_frames
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.storage.merging import Changes, NewRecording
    from aquila.cassettes.web_socket_frames import replay as conversation_replay
else:
    # With it come the modules that compare and explain messages.
    lazy_modules(globals(), "aquila.cassettes.web_socket_frames: replay as conversation_replay")


class PutAside:
    """The recordings of some ``keys`` of a cassette, and what becomes of them when new ones were made."""

    def __init__(self, keys: frozenset[str], rules: MatchRules, redactor: Redactor) -> None:
        self._keys = keys
        self._rules = rules
        self._redactor = redactor
        # The conversations that were left out, by key, in the order of the cassette. Filled once, by `take_from`.
        self._conversations: dict[str, list[Interaction]] = {}

    def take_from(self, cassette: Cassette, key_of: Callable[[RecordedRequest], str]) -> Cassette:
        """Return the cassette without them."""
        kept: list[Interaction] = []
        for interaction in cassette.interactions:
            key = key_of(interaction.request)
            if key not in self._keys:
                kept.append(interaction)
            elif is_conversation(interaction.request):
                self._conversations.setdefault(key, []).append(interaction)
        return Cassette.from_interactions(kept)

    def replaced_keys(self) -> frozenset[str]:
        """Return the keys of which every recording is replaced, also if the journal alone tells of the new ones."""
        return self._keys - self._conversations.keys()

    def add_to(self, changes: Changes, *, is_owned: bool) -> Changes:
        """Return ``changes`` with the removal of the recordings that were put aside.

        A cassette of a single scope (``is_owned``) loses all of them. In a shared cassette, other tests have
        conversations with the same handshake, so a new conversation replaces only the one that begins in the same way.
        """
        if not (changes.recorded or is_owned):
            return changes
        if is_owned:
            return replace(changes, drop_keys=self._keys)
        left: dict[str, list[Interaction | None]] = {key: [*rows] for key, rows in self._conversations.items()}
        recorded = tuple([self._place(row, left[row.key]) if row.key in left else row for row in changes.recorded])
        return replace(changes, recorded=recorded, drop_keys=self._keys - left.keys())

    def _place(self, row: NewRecording, rivals: list[Interaction | None]) -> NewRecording:
        """Give a recording the position of the first of ``rivals`` that begins in the same way, else one after all."""
        for position, rival in enumerate(rivals):
            if rival is not None and self._begins_like(row.interaction, rival):
                rivals[position] = None
                return replace(row, position=position, renews=True)
        rivals.append(None)  # takes this position, so that the next new recording gets the one behind it
        return replace(row, position=len(rivals) - 1)

    def _begins_like(self, interaction: Interaction, rival: Interaction) -> bool:
        response = rival.response
        chunks = response.chunks if response.status == SWITCHED else ()
        replay = conversation_replay.ConversationReplay(
            chunks, response.end, rules=self._rules, redact=self._redactor.redact_message
        )
        first = next(_sent(interaction), None)
        if first is None or not replay.sent_count:
            return first is None and not replay.sent_count
        return replay.take_sent(first.data, first.is_text) is None


def _sent(interaction: Interaction) -> Iterator[Frame]:
    if interaction.response.status == SWITCHED:
        yield from (each for each in read_frames(interaction.response.chunks) if isinstance(each, Frame) and each.sent)
