"""The redactor that sessions share: settled by secrets, rules and settings, and by nothing else."""

import os

import pytest

from aquila.cassettes.matching.request_key import MatchRules, key_of
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.fingerprints import fingerprints_of
from aquila.cassettes.redaction.redactor import Redactor
from aquila.config import DUMMY_KEY
from aquila.intercept import dummy_keys
from aquila.recording import runtime
from aquila.recording.redactors import redactor_for

RULES = MatchRules(("+header:x-tenant",))


def test_header_fields_that_are_compared_are_kept() -> None:
    one, other = (RecordedRequest("POST", "https://x/y", (("x-tenant", v), ("x-trace", v)), b"{}") for v in ("a", "b"))
    assert redactor_for(RULES).redact_request(one).headers == (("x-tenant", "a"),)
    assert key_of(redactor_for(RULES).redact_request(one), RULES) != key_of(
        redactor_for(RULES).redact_request(other), RULES
    )
    assert redactor_for(MatchRules()).redact_request(one).headers == ()
    assert redactor_for(MatchRules(), ("x-trace",)).redact_request(one).headers == (("x-trace", "a"),)


def test_it_is_made_anew_only_when_the_secrets_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = redactor_for(RULES)
    monkeypatch.setenv("SOME_OTHER_VARIABLE", "Zq81-not-shaped-like-a-key-4711")
    assert redactor_for(RULES) is before
    monkeypatch.setenv("SOME_TOKEN", "Zq81-not-shaped-like-a-key-4711")
    assert redactor_for(RULES).redact_text("a Zq81-not-shaped-like-a-key-4711") == "a [redacted]"
    monkeypatch.delenv("SOME_TOKEN")
    assert redactor_for(RULES).redact_text("a Zq81-not-shaped-like-a-key-4711") == "a Zq81-not-shaped-like-a-key-4711"


SHAPELESS = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"


def test_a_dummy_in_the_environment_hides_no_key_from_the_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", SHAPELESS)
    monkeypatch.setattr(runtime.machine_keys(), "environment", {})
    keys = dummy_keys.DummyKeys(dummy_keys.NO_DUMMIES)
    keys.show({"MISTRAL_API_KEY": DUMMY_KEY, "OPENAI_API_KEY": DUMMY_KEY})
    try:
        assert os.environ["MISTRAL_API_KEY"] == DUMMY_KEY
        assert redactor_for(RULES).redact_text(f"{SHAPELESS} {DUMMY_KEY}") == "[redacted] [redacted]"
    finally:
        keys.show(dummy_keys.NO_DUMMIES)
    assert os.environ["MISTRAL_API_KEY"] == SHAPELESS
    assert runtime.machine_keys().hidden == {}


def test_what_the_machine_had_when_the_run_began_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
    with dummy_keys.remember_environment():
        monkeypatch.delenv("SOME_TOKEN")
        assert redactor_for(RULES).redact_text(SHAPELESS) == "[redacted]"
    assert redactor_for(RULES).redact_text(SHAPELESS) == SHAPELESS


def test_a_fingerprint_finds_a_key_and_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = fingerprints_of([SHAPELESS, "short-1", "with a blank in its 24th"])
    assert len(known) == 1
    assert not any(SHAPELESS[at : at + 4] in known[0] for at in range(len(SHAPELESS) - 3))
    monkeypatch.setattr(runtime.machine_keys(), "fingerprints", known)
    clean = redactor_for(RULES)
    request = RecordedRequest("POST", f"https://x/{SHAPELESS}/y?a={SHAPELESS}", (), b'{"k": "%s"}' % SHAPELESS.encode())
    assert clean.redact_request(request).url == "https://x/%5Bredacted%5D/y?a=%5Bredacted%5D"
    assert clean.redact_request(request).body == b'{"k": "[redacted]"}'
    other = SHAPELESS[::-1]
    assert clean.redact_text(other) == other


@pytest.mark.parametrize("kept", range(8, len(SHAPELESS) - 8, 5))
def test_what_a_shortened_text_leaves_of_a_key_is_found(kept: int) -> None:
    clean = Redactor({SHAPELESS: "key"}).redact_shortened_text
    assert clean(f"'{SHAPELESS[:kept]}...{SHAPELESS[kept:]}'") == "'[redacted]...[redacted]'"
    assert clean(f"a {SHAPELESS} b ... c") == "a [redacted] b ... c"
    assert clean("nothing ... at all ... here") == "nothing ... at all ... here"
