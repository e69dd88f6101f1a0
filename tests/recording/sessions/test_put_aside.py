"""Which recording a new conversation replaces after conversations in a shared cassette have drifted."""

from __future__ import annotations

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.merging import Changes, NewRecording
from aquila.recording.sessions.put_aside import PutAside


def conversation(begins: str) -> Interaction:
    request = RecordedRequest("GET", "wss://x.example/")
    return Interaction(request, RecordedResponse(101), model=begins, kind="websocket")


def test_each_conversation_replaces_one_that_begins_like_it_and_the_others_come_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PutAside, "_begins_like", lambda self, new, old: new.model == old.model)
    aside = PutAside(frozenset({"key", "of http"}), MatchRules(), Redactor())
    aside._conversations = {"key": [conversation("b"), conversation("a"), conversation("a")]}
    new = tuple(NewRecording("key", 0, order, conversation(begins)) for order, begins in enumerate("aacad"))
    changes = aside.add_to(Changes(new), is_owned=False)
    assert [(row.position, row.renews) for row in changes.recorded] == [
        *((1, True), (2, True)),
        *((3, False), (4, False), (5, False)),
    ]
    assert changes.drop_keys == {"of http"}
