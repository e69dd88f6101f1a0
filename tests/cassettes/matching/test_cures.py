"""A miss by a value that is new in every run names the setting that cures it, and never one that does not."""

from __future__ import annotations

import random
import re
import tomllib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.cures import find_cure, find_fresh_fields
from aquila.cassettes.matching.difference import find_differences
from aquila.cassettes.matching.fresh_value_placeholders import FreshPart, Normalizer
from aquila.cassettes.matching.fresh_values import KIND_BY_NAME, KINDS, FreshKind
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import canonical_request, key_of
from aquila.cassettes.model import RecordedRequest
from aquila.setting_lines import AS_ARGUMENTS
from aquila.settings import parse_option
from tests.cassettes.matching.test_fresh_value_placeholders import A, B, upload
from tests.cassettes.matching.test_miss_message import RULES, chat, explain, explanation_of, request, text
from tests.support.examples import examples

_SETTING = re.compile(r"^  aquila_(\w+) =(.*(?:\n {6,}\S.*)*)$", re.MULTILINE)


def advised(shown: str) -> list[dict[str, str]]:
    """The settings that a miss advises: of each alternative the text of each setting."""
    advice = shown.partition("in every run")[2].partition("(in pytest's settings;")[0]
    return [dict(_SETTING.findall(part)) for part in re.split(r"\nor accept", advice) if _SETTING.search(part)]


def rules_with(advice: dict[str, str], before: MatchRules = RULES) -> MatchRules:
    given = {name: parse_option(name, value.strip(), source="a test") for name, value in advice.items()}
    names = ("match_on", "ignore", "ignore_query", "normalize")
    return MatchRules(**({name: getattr(before, name) for name in names} | given))


def test_a_value_that_is_new_in_every_run() -> None:
    assert explain(chat("hi", user=B), chat("hi", user=A)) == text(
        f"""
        user differs from recording 1 of cassettes/jobs.yaml

          cassette   cassettes/jobs.yaml: 1 recording
          requested  POST https://api.openai.com/v1/chat/completions
          nearest    recording 1 of 1; they differ in

            user:
              recorded  '{A}'
              now       '{B}'

          --- recording 1
          +++ this request
          @@ -5,3 +5,3 @@
             - role: "user"
               content: "hi"
          -user: "{A}"
          +user: "{B}"

        If user (a UUID) is new in every run, leave it out of the comparison:

          aquila_ignore = user

        or accept any value of its kind in its place:

          aquila_normalize = uuid

        (in pytest's settings; in a TOML file the value stands between ''' and '''; at the marker or
        use_cassette: ignore=, normalize=)

        If the change is meant, record it again:

          pytest --aquila-record tests/test_jobs.py::test_summary
        """
    )


def test_a_pattern_of_the_settings_stays_readable_beside_what_is_added() -> None:
    before = MatchRules(normalize=("/run,\\d+/",))
    shown = explain(chat(f"job {B} run,1"), chat(f"job {A} run,2"), rules=before)
    assert "  aquila_normalize =\n      /run,\\d+/\n      uuid\n" in shown
    assert rules_with(advised(shown)[0]).normalize == ("/run,\\d+/", "uuid")


CASES: list[tuple[RecordedRequest, RecordedRequest, MatchRules, list[dict[str, str]]]] = [
    (chat(f"job {A}"), chat(f"job {B}"), RULES, [{"normalize": " uuid"}]),
    (
        chat(f"job {A} of 2026-11-24"),
        chat(f"job {B} of 2026-11-25"),
        RULES,
        [{"normalize": " uuid date"}],
    ),
    (
        chat("hi", user=A),
        chat("hi", user=B),
        MatchRules(ignore=("seed",), normalize=("hex",)),
        [{"ignore": "\n      seed\n      user"}, {"normalize": " hex uuid"}],
    ),
    (chat("hi", ids=[A, A]), chat("hi", ids=[B, B]), RULES, [{"ignore": " ids[*]"}, {"normalize": " uuid"}]),
    (chat("hi", ids=[A, A]), chat("hi", ids=[A, B]), RULES, [{"ignore": " ids[1]"}]),
    (chat("hi", at=1764000000), chat("hi", at=1764000009), RULES, [{"ignore": " at"}, {"normalize": " timestamp"}]),
    (
        RecordedRequest("GET", "https://x/y?part=1&X-Amz-Date=20260101T000000Z"),
        RecordedRequest("GET", "https://x/y?part=1&X-Amz-Date=20260102T000000Z"),
        RULES,
        [{"ignore_query": " X-Amz-Date"}, {"normalize": " datetime"}],
    ),
    (
        RecordedRequest("GET", f"https://x/runs/{A}/steps"),
        RecordedRequest("GET", f"https://x/runs/{B}/steps"),
        RULES,
        [{"normalize": " uuid"}],
    ),
    (upload("b", "hi", "tmpab12cd34.wav"), upload("b", "hi", "tmpzz12cd34.wav"), RULES, [{"normalize": " tmp_path"}]),
    (
        request(f"text {A}".encode(), headers=()),
        request(f"text {B}".encode(), headers=()),
        RULES,
        [{"normalize": " uuid"}],
    ),
    # What a setting does not cure.
    (chat("hi", user=A, n=1), chat("hi", user=B, n=2), RULES, []),
    (chat("hi", user=A), chat("hi"), RULES, []),
    (chat("hi", n=1), chat("hi", n=2), RULES, []),
    (chat("hi", model="gpt-4o-2024-08-06"), chat("hi", model="gpt-4o-2024-11-20"), RULES, []),
    (chat("hi", api_version="2024-08-06"), chat("hi", api_version="2024-11-20"), RULES, []),
    (RecordedRequest("GET", f"https://x/runs/{A}"), RecordedRequest("GET", f"https://x/jobs/{A}"), RULES, []),
]


@pytest.mark.parametrize(("recorded", "now", "rules", "advice"), CASES)
def test_the_settings_that_cure_a_miss_are_named_and_no_others(
    recorded: RecordedRequest, now: RecordedRequest, rules: MatchRules, advice: list[dict[str, str]]
) -> None:
    shown = explain(now, recorded, rules=rules)
    assert advised(shown) == advice
    for each in advice:
        assert key_of(now, rules_with(each, rules)) == key_of(recorded, rules_with(each, rules))
    assert all(len(line) <= WIDTH for line in shown.splitlines())


def test_the_advice_can_be_typed_into_a_toml_file_as_the_message_says() -> None:
    one, other = (chat("hi", user=id, thread=id, messages=[{"name": id}]) for id in (A, B))
    shown = explain(one, other)
    assert "in a TOML file the value stands between ''' and '''" in " ".join(shown.split())
    for each in advised(shown):
        in_toml = "\n".join(f"aquila_{name} = '''{value}'''" for name, value in each.items())
        typed = {name.removeprefix("aquila_"): value for name, value in tomllib.loads(in_toml).items()}
        assert key_of(one, rules_with(typed)) == key_of(other, rules_with(typed))


def test_a_program_that_reads_no_settings_file_is_told_the_argument() -> None:
    told = explain(chat("hi", user=B), chat("hi", user=A), settings_file=AS_ARGUMENTS)
    assert '  normalize=["uuid"]\n\n(an argument of use_cassette' in told
    assert "aquila_" not in told
    again = explain(chat("hi"), chat("hi"), request_number=2, settings_file=AS_ARGUMENTS)
    assert again.endswith('say repeat="last".')


def test_a_fresh_value_beside_another_change_is_told_without_a_setting() -> None:
    shown = explain(chat("ho", user=B), chat("hi", user=A))
    assert "user (a UUID) is perhaps new in every run. If so, recording again is not enough." in shown
    assert "aquila_" not in shown


def test_a_fresh_value_in_a_text_that_differs_otherwise_too_is_told_without_a_setting() -> None:
    shown = explain(chat(f"Read {B} at once."), chat(f"Read {A} slowly."))
    assert "a UUID in messages[1].content is perhaps new in every run." in " ".join(shown.split())
    assert "aquila_" not in shown


def test_a_change_has_the_same_group_whatever_values_are_new_in_every_run() -> None:
    def group(id: str, how: str) -> str | None:
        return explanation_of(chat(f"Read {id} {how}."), chat(f"Read {A} slowly.")).group

    assert group(B, "at once") == group(A.replace("0", "1"), "at once") != group(B, "later")
    one, other = (
        explanation_of(chat("hi", **{field: B}), chat("hi", **{field: A})).group for field in ("user", "session")
    )
    assert one != other


def test_a_recording_that_a_setting_makes_equal_is_nearer_than_one_with_fewer_words_changed() -> None:
    one, other = chat(f"Read {A} {A.replace('1', '2')}, then sum it up"), chat(f"Read {A} and {B}, then sum it up.")
    shown = explain(chat(f"Read {B} and {A}, then sum it up."), one, other)
    assert "nearest    recording 2 of 2" in shown
    assert advised(shown) == [{"normalize": " uuid"}]


def test_no_setting_is_advised_where_a_plugin_says_what_is_the_same() -> None:
    explained = explanation_of(chat("hi", user=B), chat("hi", user=A), advises_settings=False)
    assert explained.cure is None
    assert advised(explained.text) == []
    said = " ".join(explained.text.split())
    assert "nor a setting is enough: a plugin's hook aquila_key, or a matcher of the suite's own, decides" in said
    assert "names the setting" not in said


values = st.sampled_from(
    [A, B, *(kind.example for kind in KIND_BY_NAME.values()), "x", "y", 1764000000, 7]
) | st.uuids().map(str)
bodies: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(["a", "b c", "user", "é.x", "list"]),
    values | st.lists(values, max_size=3) | st.lists(values.map(str), max_size=3).map(" ".join),
    max_size=3,
)


@given(bodies, bodies, st.sampled_from([RULES, MatchRules(ignore=("user",), normalize=("date",))]))
@settings(max_examples=150, deadline=None)
@pytest.mark.slow
def test_every_advised_setting_makes_the_request_match(recorded: Any, now: Any, rules: MatchRules) -> None:
    one, other = request(recorded), request(now)
    for advice in advised(explain(other, one, rules=rules)) if key_of(one, rules) != key_of(other, rules) else ():
        assert key_of(one, rules_with(advice, rules)) == key_of(other, rules_with(advice, rules))


OTHERS = {
    "uuid": A,
    "ulid": "01JDKQ7Z3V8W9X2Y4ZABCDEFGZ",
    "datetime": "2026-11-25T08:02:01Z",
    "timestamp": "1764000001",
    "date": "2026-12-01",
    "time": "08:02:01",
    "hex": "e3b0c44298fc1c149afbf4c8996fb924",
    "prefixed_id": "call_zB3dE5gH7jK9mN1pQ3sTuV5w",
    "random_id": "3NxVQwRk8sTfLmPq7ZbYcDeGhJa",
    "tmp_path": "/tmp/pytest-of-ada/pytest-13",
    "boundary": "boundary=----WebKitFormBoundaryAbC",
    "port": "localhost:50001",
    "address": "0x7f3a2c1b9d41",
}
"""For each kind another value than its example."""


@pytest.mark.parametrize("kind", KIND_BY_NAME.values(), ids=KIND_BY_NAME)
@pytest.mark.parametrize("around", ["{}", "the {}, again: {}"])
def test_a_value_of_every_kind_is_known(kind: FreshKind, around: str) -> None:
    assert kind.name in OTHERS, "write another value of this kind into OTHERS"
    one, other = kind.example.replace("0b7e", "1b7e"), OTHERS[kind.name]
    one = f"boundary={one}" if kind.name == "boundary" else one
    shown = explain(chat(around.format(one, one)), chat(around.format(other, other)))
    assert {"normalize": f" {kind.name}"} in advised(shown)


def test_fields_that_an_update_of_a_client_adds_or_drops_empty() -> None:
    before, now = chat("hi", stop=None, tools={}), chat("hi", reasoning={"effort": None})
    shown = explain(now, before)
    assert "fields that are null or {} as if they were absent:\n\n  aquila_ignore = <empty>\n" in shown
    cured = MatchRules(ignore=("<empty>",))
    assert key_of(now, cured) == key_of(before, cured)
    for other in (chat("hi", stop=0), chat("hi", stop=""), chat("hi", stop=[]), chat("hi", stop={"at": [None]})):
        assert "<empty>" not in explain(other, chat("hi", n=None))


@pytest.mark.parametrize("last_word", ["now", "then"], ids=["nothing else differs", "something else differs too"])
def test_the_search_for_a_setting_reads_a_text_a_bounded_number_of_times(
    last_word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pattern that is searched for in a text counts. A conversation of 40 messages once took a minute."""
    searched = 0
    find_parts = Normalizer.find_parts

    def count_and_find(normalizer: Normalizer, text: str) -> list[FreshPart]:
        nonlocal searched
        searched += len(normalizer._rows) if len(text) > 40 else 0
        return find_parts(normalizer, text)

    monkeypatch.setattr(Normalizer, "find_parts", count_and_find)
    one, other = (
        {"messages": [f"at 14:22:{n}{n}, run {id}, of 2026-11-2{n} I say {word}" for _ in range(20)]}
        for n, id, word in ((1, A, "now"), (2, B, last_word))
    )
    recorded, now = (canonical_request(request(each), RULES) for each in (one, other))
    cure = find_cure(request(other), request(one), find_differences(recorded, now), RULES)
    assert searched < (20 * 250 if cure else 100)
    assert (cure is not None) == (last_word == "now")


# --- long texts

WORDS = ["eagle", "owl", "hawk", "kite", "falcon", "harrier", "osprey", "condor"]


def long_texts(write_line: Callable[[random.Random], str], *, seed: int) -> RecordedRequest:
    """A request with 40 texts of 10 KB: the same words in every run, and in each line what is written of the seed."""
    words, fresh = random.Random(1), random.Random(seed)
    texts = ["\n".join(" ".join(words.choices(WORDS, k=16)) + write_line(fresh) for _ in range(80)) for _ in range(40)]
    return request({"messages": [{"role": "user", "content": each} for each in texts]})


def many_kinds(fresh: random.Random) -> str:
    day, hour, port = fresh.randint(1, 28), fresh.randint(10, 23), fresh.randint(10_000, 60_000)
    address, number = fresh.getrandbits(40), fresh.getrandbits(128)
    return f" {uuid.UUID(int=number)} 2026-11-{day}T14:22:31Z 0x{address:010x} {number:032x} localhost:{port} {hour}:30"


@pytest.mark.slow
@pytest.mark.parametrize("is_fresh_throughout", [True, False])
def test_the_search_for_fresh_values_is_bounded_whatever_the_sizes(
    is_fresh_throughout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = 0
    find_parts = Normalizer.find_parts

    def count_characters(normalizer: Normalizer, text: str) -> list[FreshPart]:
        nonlocal searched
        searched += len(text)
        return find_parts(normalizer, text)

    def write_line(fresh: random.Random) -> str:
        return many_kinds(fresh) + ("" if is_fresh_throughout else fresh.choice(WORDS))

    monkeypatch.setattr(Normalizer, "find_parts", count_characters)
    explain(long_texts(write_line, seed=9), *(long_texts(write_line, seed=seed) for seed in range(2)))
    assert searched < 20 * 100_000


def test_an_id_in_each_of_many_long_texts_is_cured() -> None:
    def ask(seed: int) -> RecordedRequest:
        ids = random.Random(seed)
        texts = [f"{'eagle ' * 1500}{uuid.UUID(int=ids.getrandbits(128))}{' owl' * 1000}" for _ in range(40)]
        return request({"messages": [{"role": "user", "content": each} for each in texts]})

    assert advised(explain(ask(1), ask(2))) == [{"normalize": " uuid"}]


def test_an_id_that_is_no_longer_that_of_an_equal_line_is_not_called_fresh() -> None:
    one, other = (canonical_request(chat(f"Of {A}:\nask {who}."), RULES) for who in (A, B))
    assert find_fresh_fields(find_differences(one, other)) == [None]


@given(
    st.lists(
        st.sampled_from([*(kind.example for kind in KINDS), "text", " ", "-", "--"]).flatmap(
            lambda value: st.sampled_from([value, f" {value}", f"{value} "])
        ),
        max_size=6,
    ),
    st.integers(0, 6),
)
@settings(max_examples=examples(200), deadline=None)
def test_no_fresh_value_goes_over_the_end_of_a_line(values: list[str], at: int) -> None:
    mask = Normalizer(KIND_BY_NAME).mask_text
    one, other = "".join(values[:at]), "".join(values[at:])
    assert mask(f"{one}\n{other}") == f"{mask(one)}\n{mask(other)}"
