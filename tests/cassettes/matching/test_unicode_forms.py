"""A request that differs from its recording in nothing but how Unicode composes its letters."""

from __future__ import annotations

import unicodedata

import pytest

from aquila.cassettes.model import RecordedRequest
from tests.cassettes.matching.test_miss_message import chat, explain, request

REMARK = "the same letters as the recording, which Unicode composes in another way"
COMPOSED = "Résumé d’Ångström, 한국어"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
    ("recorded", "now"),
    [
        (chat(COMPOSED), chat(DECOMPOSED)),
        (chat(f"a\n{DECOMPOSED}\nb"), chat(f"a\n{COMPOSED}\nb")),
        (request({"input": [COMPOSED, COMPOSED]}), request({"input": [DECOMPOSED, DECOMPOSED]})),
    ],
)
def test_a_miss_says_that_only_the_form_of_unicode_differs(recorded: RecordedRequest, now: RecordedRequest) -> None:
    shown = " ".join(explain(now, recorded).split())
    assert REMARK in shown
    assert 'unicodedata.normalize("NFC", text)' in shown


@pytest.mark.parametrize(
    ("recorded", "now"),
    [
        (chat(COMPOSED), chat(f"{DECOMPOSED}!")),
        (chat("Resume"), chat("Resumé")),
        (request({"input": [COMPOSED, 1]}), request({"input": [DECOMPOSED, 2]})),
    ],
)
def test_where_something_else_differs_the_form_is_not_named(recorded: RecordedRequest, now: RecordedRequest) -> None:
    assert REMARK not in " ".join(explain(now, recorded).split())
