"""The work of redaction is linear in the text: shown by how patterns are made, and by counting, not by a clock."""

from __future__ import annotations

import base64
import hashlib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes import redaction
from aquila.cassettes.model import RecordedChunk, RecordedResponse
from aquila.cassettes.redaction import decoded_views, known_secrets, secret_patterns, text_changes
from aquila.cassettes.redaction.found_secrets import replace_found
from aquila.cassettes.redaction.key_shapes import KEY_SHAPES
from aquila.cassettes.redaction.known_secrets import KnownSecrets
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.scrubber import Scrubber
from aquila.cassettes.redaction.trivial_values import is_trivial
from aquila.lazy_patterns import _LazyPattern
from tests.support.examples import examples
from tests.support.slow import slow_but, slow_but_each

# --- patterns: none of them reads a stretch of text again and again

BOUNDED_OTHERWISE = {
    "decoded_views._CUT_ESCAPE": "searched for in 64 bytes",
    "environment_secrets._SECRET_END": "matched against names of less than 200 characters",
    "environment_secrets._WORD": "the same",
    "environment_secrets._PATH": "matched against whole values of less than 4,096 characters",
    "request_credentials._TEMPLATE": "matched against whole values",
    "request_credentials._BASE64": "the same",
    "request_credentials._USERINFO": "matched where a URL begins",
    "stream_events._JSON_LINE": "begins where a line does, and its repetitions end with the line",
    "response_headers._WHO_ASKED": "matched against whole names",
    "response_headers._DIFFERS_EACH_TIME": "the same",
}
"""Patterns that read a stretch of text again and again, each with the reason why that does not take long."""

UNBOUNDED = constants.MAXREPEAT
REPEATS = {constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT}
TOKEN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
CATEGORIES = {
    constants.CATEGORY_SPACE: rb"\s",
    constants.CATEGORY_NOT_SPACE: rb"\S",
    constants.CATEGORY_WORD: rb"\w",
    constants.CATEGORY_NOT_WORD: rb"\W",
    constants.CATEGORY_DIGIT: rb"\d",
    constants.CATEGORY_NOT_DIGIT: rb"\D",
}


def bytes_of(op: Any, value: Any) -> frozenset[int]:
    """The bytes that one item of a pattern can match. A letter stands for both cases, for a flag may say so."""
    if op is constants.LITERAL:
        return frozenset(chr(value).upper().encode("latin-1") + chr(value).lower().encode("latin-1"))
    if op is constants.NOT_LITERAL:
        return frozenset(range(256)) - {value}
    if op is constants.ANY:
        return frozenset(range(256))
    if op is constants.RANGE:
        return frozenset(range(value[0], value[1] + 1))
    if op is constants.CATEGORY:
        return frozenset(code for code in range(256) if re.match(CATEGORIES[value], bytes((code,))))
    if op is constants.IN:
        found = frozenset().union(*(bytes_of(*item) for item in value if item[0] is not constants.NEGATE))
        return frozenset(range(256)) - found if value[0][0] is constants.NEGATE else found
    if op is constants.SUBPATTERN:
        return frozenset().union(*(bytes_of(*item) for item in value[3]))
    if op in REPEATS:
        return frozenset().union(*(bytes_of(*item) for item in value[2]))
    if op is constants.BRANCH:
        return frozenset().union(*(bytes_of(*item) for branch in value[1] for item in branch))
    return frozenset()  # a place, not a byte


def may_be_empty(items: Sequence[tuple[Any, Any]]) -> bool:
    """Whether a sequence can neither fail nor needs a byte."""
    for op, value in items:
        if op in REPEATS and (value[0] == 0 or may_be_empty(value[2])):
            continue
        if op is constants.SUBPATTERN and may_be_empty(value[3]):
            continue
        if op is constants.BRANCH and any(may_be_empty(branch) for branch in value[1]):
            continue
        return False
    return True


def sequences(items: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Every way through a pattern, branch by branch, with its items in one list."""
    items = list(items)
    for at, (op, value) in enumerate(items):
        rest = items[at + 1 :]
        if op is constants.SUBPATTERN:
            yield from sequences([*items[:at], *value[3], *rest])
            return
        if op is constants.BRANCH:
            for branch in value[1]:
                yield from sequences([*items[:at], *branch, *rest])
            return
        if op in (constants.ASSERT, constants.ASSERT_NOT):
            # What is looked at ahead has begun where the items before it began.
            yield from sequences([*items[:at], *value[1]])
            yield from sequences([*items[:at], *rest])
            return
    yield items


def rereads(pattern: bytes, flags: int = 0) -> list[str]:
    """Why a search may read a stretch of text more often than a fixed number of times; empty if it never does."""
    found = []
    for items in sequences(parser.parse(pattern, flags)):
        start = items[0] if items else (constants.ANY, None)
        if start[0] is constants.AT and not flags & re.MULTILINE:
            continue  # there is one place where it can begin
        begins = frozenset(b"\n") if start[0] is constants.AT else bytes_of(*start)
        fixed: list[frozenset[int]] = []  # what must stand at the beginning
        for op, value in items:
            if op in REPEATS or op in (constants.ASSERT, constants.ASSERT_NOT):
                break
            fixed.append(bytes_of(op, value) or frozenset(b"\n"))
        open_ones: list[frozenset[int]] = []
        for at, (op, value) in enumerate(items):
            if op not in REPEATS:
                if not may_be_empty(items[at : at + 1]) and op is not constants.AT:
                    open_ones = []
                continue
            low, high, body = value
            inner = list(body)
            nested = any(name in REPEATS and each[1] is UNBOUNDED for item in inner for name, each in flatten(item))
            if nested and high is UNBOUNDED:
                found.append("a repetition without bound in another")
            if high is not UNBOUNDED:
                if low:
                    open_ones = []
                continue
            taken = bytes_of(op, value)
            if may_be_empty(items[at + 1 :]):
                continue
            if op is not constants.POSSESSIVE_REPEAT:
                if any(taken & other for other in open_ones):
                    found.append("two repetitions side by side that take the same bytes")
                open_ones.append(taken)
            if begins <= taken and all(part <= taken or part & taken for part in fixed):
                found.append("a repetition that can run over the next place where the pattern begins, and then fail")
    return found


def flatten(item: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    op, value = item
    yield item
    if op in REPEATS:
        children = list(value[2])
    elif op is constants.SUBPATTERN:
        children = list(value[3])
    elif op is constants.BRANCH:
        children = [each for branch in value[1] for each in branch]
    else:
        children = []
    for child in children:
        yield from flatten(child)


def all_patterns() -> dict[str, re.Pattern[Any]]:
    """Every pattern that a module of the package keeps, and the one that says which texts are searched at all."""
    found = {}
    modules = [module.name for module in pkgutil.walk_packages(redaction.__path__, f"{redaction.__name__}.")]
    for module in map(importlib.import_module, [*modules, "aquila.recording.secrets.outgoing"]):
        short = module.__name__.rpartition(".")[2]
        for name, value in vars(module).items():
            values = value if isinstance(value, (list, tuple)) else [value]
            flat = [part for each in values for part in (each if isinstance(each, tuple) else (each,))]
            for number, part in enumerate(each for each in flat if isinstance(each, (re.Pattern, _LazyPattern))):
                found[f"{short}.{name}" + (f"[{number}]" if number else "")] = part
    return found


PATTERNS = all_patterns()


def test_no_pattern_reads_a_stretch_again_and_again_unless_its_text_is_short() -> None:
    found = set()
    for name, pattern in PATTERNS.items():
        source = pattern.pattern if isinstance(pattern.pattern, bytes) else pattern.pattern.encode()
        if rereads(source, pattern.flags & ~re.UNICODE):
            found.add(name)
    assert found == BOUNDED_OTHERWISE.keys()


def test_the_patterns_of_all_folders_are_checked() -> None:
    assert {"secret_patterns._DASH", "event_layouts._TOKEN", "outgoing._RUN"} <= PATTERNS.keys()


@pytest.mark.parametrize(
    "pattern",
    [
        rb"Bearer[\s+]+(?=[\w+]*?[0-9])([\w+]{16,})",
        rb"Basic[\s+]+([\w+]{8,})(?![\w=])",
        rb"[a-z]*key[a-z]*",
        rb"(?:[a-z]+-)+x",
        rb"x\s*\s*y",
    ],
)
def test_a_pattern_that_reads_a_stretch_again_is_noticed(pattern: bytes) -> None:
    assert rereads(pattern)


def test_the_shape_of_a_key_is_looked_for_within_one_run() -> None:
    """They are matched where a run begins, and in runs of up to 512 bytes also behind dashes. So a run bounds them."""
    for name, _, pattern in KEY_SHAPES:
        for items in sequences(parser.parse(pattern)):
            for at, (op, value) in enumerate(items):
                if op in REPEATS and value[1] is UNBOUNDED and not may_be_empty(items[at + 1 :]):
                    assert bytes_of(op, value) <= TOKEN, name


# --- the changes that a function makes

words = st.lists(st.sampled_from(["a", "b", "eagle", " ", ", ", ".", "C-123456", "\u00e9", "\n"]), max_size=60)


@given(before=words, after=words)
@settings(max_examples=examples(200))
def test_applying_the_changes_of_a_function_gives_the_text_that_it_returned(
    before: list[str], after: list[str]
) -> None:
    data, wanted = "".join(before).encode(), "".join(after)
    found = text_changes.find_changes(lambda _: wanted, data)
    assert replace_found(data, found)[0].decode() == wanted
    assert [(one.start, one.end) for one in found] == sorted((one.start, one.end) for one in found)


class Counted(list[str]):
    """Words that count how many of them are looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        type(self).looks += len(found) if isinstance(index, slice) else 1
        return found


CHANGES: dict[str, Callable[[list[str]], list[str]]] = {
    "every tenth word": lambda text: ["x" if at % 10 == 0 else word for at, word in enumerate(text)],
    "every word": lambda text: [f"{word}!" for word in text],
    "a word more, all along": lambda text: [part for word in text for part in (word, "and")],
    "all but one removed": lambda text: text[:1],
    "the other way round": lambda text: text[::-1],
    "one half for the other": lambda text: text[len(text) // 2 :] + text[: len(text) // 2],
    "the same word everywhere": lambda text: ["same"] * len(text),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
@pytest.mark.parametrize("kinds", slow_but([30], [2, 30, 10_000]))
def test_finding_changes_looks_at_a_number_of_words_in_proportion_to_the_text(change: str, kinds: int) -> None:
    looks = []
    for size in (2000, 8000):
        old = [f"w{at * at % kinds}" for at in range(size)]
        Counted.looks = 0
        for _ in text_changes._differing_stretches(Counted(old), Counted(CHANGES[change](old))):
            pass
        looks.append(Counted.looks / size)
    assert looks[1] < 2 * max(looks[0], 10)


# --- texts on which the search took seconds


@pytest.mark.parametrize(
    "start", ["Basic ", "Bearer ", "bearer+", "Basic+", "secret_access_key", '"api_key": "', "://a:"]
)
def test_a_long_beginning_of_a_secret_ends_soon(start: str) -> None:
    """At this size a pattern that reads again and again takes minutes."""
    for rest in ("+", " ", "=", "\\", "a", "/", "Bearer+", "Basic+", "@"):
        text = start + rest * (200_000 // len(rest)) + "!"
        Redactor({"Zq81-not-shaped-4711": "x"}).redact_text(text)


def test_a_key_within_a_key_is_not_searched_to_the_end_again() -> None:
    data = b"ya29." + b"a1" * 10 + (b".ya29." + b"a1" * 10) * 20
    flat = data.translate(secret_patterns.FLATTENING)
    (found,) = secret_patterns.find_secret_patterns(data, flat, has_run=True)
    assert (found.start, found.end) == (0, len(data))


@pytest.mark.parametrize("word", ["ab", "Ab", "AB", "A", "é"])
def test_whether_a_sentence_is_trivial_is_found_soon(word: str) -> None:
    """With a pattern that matches each word in two ways this takes hours."""
    assert not is_trivial(" ".join([*[word] * 32, "12"]))


@pytest.mark.parametrize(
    "start", slow_but_each(3, ["[", "{", '{"a":', '{"id":"x","a":', '{"index":1,"a":', '"id":"x",', '"id":"'])
)
def test_values_within_values_are_searched_in_bounded_depth(start: str) -> None:
    """At this size each level's own path takes gigabytes, and a call for each level is one too many."""
    body = start.encode() * (100_000 // len(start))
    answer = RecordedResponse(200, chunks=(RecordedChunk(body + b'"Zq81-not-shaped-4711'),))
    (clean,) = Redactor({"Zq81-not-shaped-4711": "x"}).redact_response(answer).chunks
    assert clean.data == body + b'"[redacted]'


def test_a_text_made_of_all_notations_has_a_bounded_number_of_readings() -> None:
    text = b"\\\\u005c\\u0025255c%255cu0026amp;&amp;#92;xe4%5c%5cxe4&#x5c;x25xe4\\xe4 " * 2
    assert sum(1 for _ in decoded_views.readings_of(text)) <= 64


def test_only_what_is_near_a_gap_is_searched_for_the_rest_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def count(data: bytes, **how: Any) -> Iterator[decoded_views.DecodedView]:
        nonlocal read
        read += len(data)
        return iter(())

    monkeypatch.setattr(decoded_views, "readings_of", count)
    Scrubber({"Zq81-not-shaped-4711": "x"}, ()).scrub_around_gap("a" * 1_000_000, "\\n" * 500_000)
    assert 0 < read < 100_000


def test_known_values_among_long_base64_are_found_in_one_pass() -> None:
    text = "Zm9v" * 50_000 + " " + "U2VjcmV0LW5vdC1zaGFwZWQtNDcxMQ==" + " " + "Zm9v" * 50_000
    clean = Redactor({"Secret-not-shaped-4711": "x"}).redact_text(text)
    assert clean == text.replace("U2VjcmV0LW5vdC1zaGFwZWQtNDcxMQ==", "[redacted]")


# --- hundreds of known values


class Searched(bytes):
    """Bytes that count how often they are searched from beginning to end."""

    count = 0

    def __contains__(self, part: Any) -> bool:
        type(self).count += 1
        return super().__contains__(part)


def values_like_keys(count: int) -> list[str]:
    return [base64.b64encode(hashlib.sha256(b"%d" % number).digest()[:24]).decode() for number in range(count)]


def test_the_searches_for_known_values_do_not_grow_with_their_number() -> None:
    searches = []
    for count in (10, 100):
        scrubber = Scrubber(dict.fromkeys(values_like_keys(count), "x"), ())
        Searched.count = 0
        assert not scrubber.find_secrets(Searched(b"%x" % 4711**1000))
        searches.append(Searched.count)
    assert searches[0] == searches[1] < 40


def test_the_needles_of_hundreds_of_values_are_made_once() -> None:
    values = [(value, "x") for value in values_like_keys(300)]
    KnownSecrets(values)
    made = known_secrets._needles_for.cache_info().misses
    KnownSecrets([*values, ("Zq81-not-shaped-4711", "another test's")])
    assert known_secrets._needles_for.cache_info().misses <= made + 1


@given(
    value=st.sampled_from(["Zq81-not-shaped-4711", "grün und blau, 17", "pass word 12", "hunter2-4711"]),
    at=st.integers(0, 40),
    behind=st.integers(0, 40),
    spelling=st.integers(0, 100),
    filler=st.sampled_from([b" ", b"a", b"\xff"]),
)
@settings(max_examples=examples(200))
def test_each_spelling_is_found_at_each_place_among_hundreds_of_values(
    value: str, at: int, behind: int, spelling: int, filler: bytes
) -> None:
    many = KnownSecrets([(value, "x"), *((other, "x") for other in values_like_keys(100))])
    alone = KnownSecrets([(value, "x")])
    needle = alone.needles[spelling % len(alone.needles)]
    data = filler * at + needle.text + filler * behind
    assert needle.text in {chosen.text for chosen in many.choose_needles(data)}
