"""The redactor that sessions share: settled by secrets, rules and settings, and by nothing else."""

import pytest

from aquila.cassettes.key import MatchRules, key_of
from aquila.cassettes.model import Request
from aquila.cassettes.opening import redactor

RULES = MatchRules(("+header:x-tenant",))


def test_header_fields_that_are_compared_are_kept() -> None:
    one, other = (Request("POST", "https://x/y", (("x-tenant", v), ("x-trace", v)), b"{}") for v in ("a", "b"))
    assert redactor(RULES).request(one).headers == (("x-tenant", "a"),)
    assert key_of(redactor(RULES).request(one), RULES) != key_of(redactor(RULES).request(other), RULES)
    assert redactor(MatchRules()).request(one).headers == ()
    assert redactor(MatchRules(), ("x-trace",)).request(one).headers == (("x-trace", "a"),)


def test_it_is_made_anew_only_when_the_secrets_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = redactor(RULES)
    monkeypatch.setenv("SOME_OTHER_VARIABLE", "Zq81-not-shaped-like-a-key-4711")
    assert redactor(RULES) is before
    monkeypatch.setenv("SOME_TOKEN", "Zq81-not-shaped-like-a-key-4711")
    assert redactor(RULES).text("a Zq81-not-shaped-like-a-key-4711") == "a [redacted]"
    monkeypatch.delenv("SOME_TOKEN")
    assert redactor(RULES).text("a Zq81-not-shaped-like-a-key-4711") == "a Zq81-not-shaped-like-a-key-4711"
