"""Sessions share a redactor, which depends on secrets, rules and settings alone."""

import difflib
import functools
import os
import pprint
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes import object_memo
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction import fingerprints, trivial_values
from aquila.cassettes.redaction.fingerprints import fingerprints_of
from aquila.cassettes.redaction.redactor import Redactor
from aquila.intercept import dummy_keys
from aquila.intercept.processes import child_processes
from aquila.recording import environment, runtime
from aquila.recording.environment import DUMMY_KEY, SetVariables
from aquila.recording.runtime import Run
from aquila.recording.secrets import redactors
from aquila.recording.secrets.redactors import redactor_for
from tests.support.runs import separate_run

RULES = MatchRules(("+header:x-tenant",))


def test_header_fields_that_are_compared_are_kept() -> None:
    one, other = (RecordedRequest("POST", "https://x/y", (("x-tenant", v), ("x-trace", v)), b"{}") for v in ("a", "b"))
    assert redactor_for(RULES).redact_request(one).headers == (("x-tenant", "a"),)
    assert key_of(redactor_for(RULES).redact_request(one), RULES) != key_of(
        redactor_for(RULES).redact_request(other), RULES
    )
    assert redactor_for(MatchRules()).redact_request(one).headers == ()
    assert redactor_for(MatchRules(), ("x-trace",)).redact_request(one).headers == (("x-trace", "a"),)


@pytest.fixture
def between_tests(tmp_path: Path) -> Iterator[Run]:
    """A run in which no test runs now."""
    with separate_run(tmp_path) as run:
        yield run


@pytest.mark.usefixtures("between_tests")
def test_the_redactor_is_made_anew_only_when_the_secrets_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = redactor_for(RULES)
    monkeypatch.setenv("SOME_OTHER_VARIABLE", "Zq81-not-shaped-like-a-key-4711")
    assert redactor_for(RULES) is before
    monkeypatch.setenv("SOME_TOKEN", "Zq81-not-shaped-like-a-key-4711")
    assert redactor_for(RULES).redact_text("a Zq81-not-shaped-like-a-key-4711") == "a [redacted]"
    monkeypatch.delenv("SOME_TOKEN")
    assert redactor_for(RULES).redact_text("a Zq81-not-shaped-like-a-key-4711") == "a Zq81-not-shaped-like-a-key-4711"


@pytest.mark.usefixtures("between_tests")
def test_an_environment_to_which_each_test_returns_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # A test with parameters asks before its scope puts dummy keys into the environment, and again after that.
    searched = 0

    def counting(environ: Mapping[str, str]) -> dict[str, str]:
        nonlocal searched
        searched += 1
        return {}

    monkeypatch.setattr(redactors, "environment_secrets", counting)
    cache = redactors.RedactorCache()
    for _ in range(3):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        cache.find_secrets()
        monkeypatch.setenv("OPENAI_API_KEY", DUMMY_KEY)
        cache.find_secrets()
    assert searched == 2 * 3  # each time the variables now, those that are hidden, and those of the machine


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


def test_a_secret_that_a_test_has_set_is_known_until_the_test_ends(
    between_tests: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the test unsets the variable. The next test does not know it, so that no test depends on another."""
    with between_tests.running_test("test_one", None):
        monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
        monkeypatch.delenv("SOME_TOKEN")
        assert redactor_for(RULES).redact_text(SHAPELESS) == "[redacted]"
    with between_tests.running_test("test_other", None):
        assert redactor_for(RULES).redact_text(SHAPELESS) == SHAPELESS


def test_a_redactor_learns_secrets_that_are_set_after_it_was_made(
    between_tests: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = redactor_for(RULES)
    request = RecordedRequest("GET", "https://x/y", (("accept", SHAPELESS),), b"")
    assert early.redact_request(request) == request
    monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
    monkeypatch.delenv("SOME_TOKEN")
    assert early.redact_request(request).headers == (("accept", "[redacted]"),)
    assert redactor_for(RULES).redact_request(request) == request


def test_variables_are_noted_only_within_a_block_that_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    variables, put = SetVariables(), os.putenv
    monkeypatch.setenv("SOME_VARIABLE", "before")  # sets it back at the end
    with variables.noting(), variables.noting():
        for number in range(25_000):
            os.environ["SOME_VARIABLE"] = f"{number}"
        assert variables.count == 25_000
        assert variables.since(24_998) == [("SOME_VARIABLE", "24998"), ("SOME_VARIABLE", "24999")]
        assert 5_000 <= len(variables.since(0)) <= 10_000
        monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
        monkeypatch.setenv("SOME_VARIABLE", f"sk-{DUMMY_KEY}")
        assert variables.count == 25_000
        monkeypatch.setenv("SOME_VARIABLE", f"redis://user:{SHAPELESS}@host/{DUMMY_KEY}")
        assert variables.count == 25_001
    assert os.putenv is put


def test_a_secret_is_remembered_however_much_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = SetVariables()
    with variables.noting():
        monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
        monkeypatch.setenv("SOME_VARIABLE", "the same again")  # sets it back at the end
        for _ in range(12_000):  # as `mock.patch.dict` does with all that was there before
            os.environ["SOME_VARIABLE"] = "the same again"
        assert [value for _, value in variables.since(0)] == [SHAPELESS, "the same again"]
        assert variables.since(variables.count - 1) == [("SOME_VARIABLE", "the same again")]
        for number in range(25_000):
            os.environ["SOME_VARIABLE"] = f"{number}"
        assert variables.since(0)[0] == ("SOME_TOKEN", SHAPELESS)


def test_variables_are_noted_whatever_else_is_put_in_the_place_of_putenv(monkeypatch: pytest.MonkeyPatch) -> None:
    variables, put = SetVariables(), os.putenv
    noting = variables.noting()
    with pytest.MonkeyPatch.context() as other:
        other.setattr(os, "putenv", functools.partial(put))
        noting.__enter__()
    with variables.noting():  # within the block that is blind now
        monkeypatch.setenv("SOME_VARIABLE", "1")
    noting.__exit__(None, None, None)
    assert os.putenv is put
    with pytest.MonkeyPatch.context() as other, variables.noting():
        noted = os.putenv
        other.setattr(os, "putenv", functools.partial(noted))
    monkeypatch.setenv("SOME_VARIABLE", "2")
    with variables.noting():
        monkeypatch.setenv("SOME_VARIABLE", "3")
    assert [value for _, value in variables.since(0)] == ["1", "3"]
    assert os.putenv is put


def test_a_variable_that_a_test_sets_is_searched_once(between_tests: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[str, str]] = []
    search = redactors._secrets_among
    monkeypatch.setattr(redactors, "_secrets_among", lambda rows: searched.extend(rows := list(rows)) or search(rows))
    with between_tests.running_test("test_one", None):
        for number in range(100):
            monkeypatch.setenv("SOME_TOKEN", f"{SHAPELESS}{number}")
            redactor_for(RULES)
        assert redactor_for(RULES).redact_text(f"{SHAPELESS}7 {SHAPELESS}99") == "[redacted] [redacted]"
    assert searched.count(("SOME_TOKEN", f"{SHAPELESS}7")) <= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows forks nothing")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("lock", [environment._lock, object_memo._lock])
def test_a_forked_child_inherits_no_lock_that_another_thread_holds(lock: Any) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(0.2)  # the fork waits for that, or the child has a lock that nobody releases

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("between_tests")
def test_secrets_of_the_machine_when_the_run_began_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
    with dummy_keys.remember_environment():
        monkeypatch.delenv("SOME_TOKEN")
        assert redactor_for(RULES).redact_text(SHAPELESS) == "[redacted]"
    assert redactor_for(RULES).redact_text(SHAPELESS) == SHAPELESS


def test_a_fingerprint_finds_a_key_and_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = fingerprints_of([SHAPELESS, "short-1", "with a blank in its 24th", "eagles"])
    assert len(known) == 1
    assert not any(SHAPELESS[at : at + 4] in known[0] for at in range(len(SHAPELESS) - 3))
    monkeypatch.setattr(runtime.machine_keys(), "fingerprints", known)
    clean = redactor_for(RULES)
    request = RecordedRequest("POST", f"https://x/{SHAPELESS}/y?a={SHAPELESS}", (), b'{"k": "%s"}' % SHAPELESS.encode())
    assert clean.redact_request(request).url == "https://x/%5Bredacted%5D/y?a=%5Bredacted%5D"
    assert clean.redact_request(request).body == b'{"k": "[redacted]"}'
    other = SHAPELESS[::-1]
    assert clean.redact_text(other) == other


def test_a_short_key_is_hashed_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes of a fast hash rule out most words, so that the slow one is needed for hardly any other."""
    (known,) = fingerprints_of(["k3y-Of-10"])
    _length, _kind, _salt, quick, slow = known.split(":")
    assert (len(quick), len(slow)) == (4, 64)
    calls = []
    hash_slowly = fingerprints._hash_slowly
    monkeypatch.setattr(fingerprints, "_hash_slowly", lambda *args: calls.append(args) or hash_slowly(*args))
    monkeypatch.setattr(runtime.machine_keys(), "fingerprints", [known])
    redactor_for(RULES).redact_text(" ".join(f"k3y-{number:05}" for number in range(2000)))
    assert len(calls) < 10


def test_the_parts_of_a_key_with_escapes_that_a_shortened_text_shows_are_redacted() -> None:
    key = "hunter2-\\horse'-fünf-99-battery"
    clean = Redactor({key: "key"}).redact_shortened_text
    for shown in (ascii(key)[1:-1], repr(key.encode())[2:-1]):
        for kept in range(8, len(shown) - 8):
            assert clean(f"<{shown[:kept]}...{shown[kept:]}>") == "<[redacted]...[redacted]>"


@pytest.mark.parametrize("kept", range(8, len(SHAPELESS) - 8, 5))
def test_the_parts_of_a_key_that_a_shortened_text_shows_are_redacted(kept: int) -> None:
    clean = Redactor({SHAPELESS: "key"}).redact_shortened_text
    assert clean(f"'{SHAPELESS[:kept]}...{SHAPELESS[kept:]}'") == "'[redacted]...[redacted]'"
    assert clean(f"a {SHAPELESS} b ... c") == "a [redacted] b ... c"
    assert clean("nothing ... at all ... here") == "nothing ... at all ... here"


def explain_difference(left: object, right: object) -> Iterator[str]:
    """Yield texts that say how two values differ, as those of pytest and unittest do, also in colours."""
    lines = list(difflib.ndiff(*(pprint.pformat(each, width=72).splitlines() for each in (left, right))))
    yield "\n".join(lines)
    yield "\n".join([f"E         {line}" for line in lines])
    yield "\n".join([f"E         \x1b[92m{line}\x1b[39;49;00m\x1b[90m\x1b[39;49;00m" for line in lines])


PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\n" + f"{SHAPELESS * 2}\n" * 3 + "-----END PRIVATE KEY-----"


@pytest.mark.parametrize("key", ["it's correct4 horse battery9 staple", SHAPELESS, PRIVATE_KEY])
@pytest.mark.parametrize("convert", [str, str.encode])
def test_a_key_that_pprint_breaks_over_lines_is_redacted(key: str, convert: Callable[[str], Any]) -> None:
    clean = Redactor({} if key == PRIVATE_KEY else {key: "key"}).redact_shortened_text
    parts = [key[start : start + 8] for start in range(len(key) - 7)]
    for length in range(34, 74, 3):
        one, other = (convert(f"{'x' * number} {key} {'y' * 90}") for number in (length, length - 1))
        for text in (pprint.pformat(one), pprint.pformat({"of": [one]}), *explain_difference([one], [other])):
            shown = clean(text)
            assert not [part for part in parts if part in shown], text
            assert "y" * 30 in shown


def test_a_parent_passes_on_every_key_that_is_not_too_short_to_be_one() -> None:
    assert child_processes._SHORTEST_KEY == trivial_values.MIN_LENGTH
