"""Finds settings under which a request would match a recording, if the two differ only in values new in every run.

A setting is advised only after both requests have been given the same key under it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.difference import ABSENT, LONGEST_PATH, Difference, clip_path
from aquila.cassettes.matching.fresh_value_placeholders import Normalizer, RequestNormalizer
from aquila.cassettes.matching.fresh_values import KIND_BY_NAME
from aquila.cassettes.matching.json_path import with_any_index
from aquila.cassettes.matching.match_rules import EMPTY_FIELDS, MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.text_changes import common_prefix_length
from aquila.errors import ConfigError
from aquila.plurals import count_of, join_with_and
from aquila.setting_lines import AS_ARGUMENTS, setting_lines

_MOST = 50
"""The most differences that are examined. Requests that differ in more places ask different things."""
_LONGEST = 100_000
"""The most characters, of all differences together, that are searched for fresh values. Each kind is a search."""
_MARGIN = 100
"""More characters than any fresh value has that holds a space, such as a date with its time."""
_MOST_NAMED = 3  # fields that a sentence names before it counts the others
CHOSEN = re.compile(r"version|(?:^|[.\]])(?:model|(?:model|deployment|voice)_?id)$", re.IGNORECASE)
"""Fields whose value somebody chose. A date in such a value (``gpt-4o-2024-08-06``) or a number is not fresh."""
_ASKED = re.compile(
    r"""^(?:tools|functions|response_format|text)\b|(?:^|[.\]])(?:content|contents|description|input|instructions|messages|model
    |(?:model|deployment|voice)_?id|name|output|arguments|parts|prompt|query|role|system|text|type)(?:\[-?\d+\])*$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Fields that say what is asked. No advice leaves one of them out."""
_PERHAPS_FRESH = re.compile(
    r"(?:^|[^a-z]|(?<=[a-z])(?=[A-Z]))(?i:ids?|pid|seed|nonce|salt|port|duration|elapsed|latency|took|timestamp|ts"
    r"|session|trace|span)(?:_(?:ms|s|ns|seconds))?(?:\[-?\d+\])*$"
)
"""Fields whose names say that their number or short id may be new in every run. In other fields, somebody may have
chosen the value."""
_MOST_IGNORED = 5  # fields that one piece of advice leaves out
_LONGEST_WORD = 64  # characters of a value that may be an id or a flag, and no prompt
_ALL = tuple(KIND_BY_NAME)
_PLACEHOLDER = re.compile("⟨[^⟨⟩]*⟩")

Advice: TypeAlias = Mapping[str, tuple[str, ...]]
"""Settings by their names, each with its whole value."""


class FreshField(NamedTuple):
    """A field whose value differs only in fresh values of these ``kinds`` (names in ``KIND_BY_NAME``).

    ``path`` is where the field stands. ``is_whole`` says that the whole value is one fresh value.
    """

    path: str
    kinds: tuple[str, ...]
    is_whole: bool


OTHER_DECIDER = "a plugin's hook aquila_key, or a matcher of the suite's own, decides here which requests are the same"
"""Why no setting helps."""


class Cure(NamedTuple):
    """The fields that are new in every run, and the settings under which the request matches.

    ``fields`` is empty if the requests differ only in fields that are null or ``{}``. Each entry of ``advice`` is
    enough by itself.
    """

    fields: tuple[FreshField, ...]
    advice: tuple[Advice, ...]


def find_fresh_fields(found: Sequence[Difference]) -> list[FreshField | None]:
    """Return an entry for each difference: a fresh field, or None if something else differs there."""
    return [each and _fresh_field_of(each) for each in _examine_differences(found)]


class _Examined(NamedTuple):
    """A difference, and the parts of its two values that are searched. Of texts, these are the parts that differ."""

    whole: Difference
    recorded: Any
    now: Any


def _examine_differences(found: Sequence[Difference]) -> list[_Examined | None]:
    """Return an entry for each difference: None for a difference beyond the limits ``_MOST`` and ``_LONGEST``."""
    entries: list[_Examined | None] = []
    room = _LONGEST
    for difference in found[:_MOST]:
        values = _without_equal_text(difference.recorded, difference.now)
        length = sum(len(str(value)) for value in values)
        entries.append(_Examined(difference, *values) if length <= room else None)
        room -= length if length <= room else 0
    return entries + [None] * len(found[_MOST:])


def _without_equal_text(one: Any, other: Any) -> tuple[Any, Any]:
    """Shorten two texts with the same number of lines to the lines that differ, without long equal ends of a line.

    Other values are returned as they are. Texts can be shortened so, because no fresh value goes over the end of a
    line.
    """
    if not (isinstance(one, str) and isinstance(other, str)) or one.count("\n") != other.count("\n"):
        return one, other
    pairs = zip(one.split("\n"), other.split("\n"), strict=True)
    kept = [_without_equal_ends(*pair) for pair in pairs if pair[0] != pair[1]]
    return "\n".join(pair[0] for pair in kept), "\n".join(pair[1] for pair in kept)


def _without_equal_ends(one: str, other: str) -> tuple[str, str]:
    begin = common_prefix_length(one, other)
    begin = one.rfind(" ", 0, max(0, begin - _MARGIN)) + 1
    one, other = one[begin:], other[begin:]
    end = common_prefix_length(one[::-1], other[::-1])
    end = one[::-1].rfind(" ", 0, max(0, end - _MARGIN)) + 1
    return one[: len(one) - end], other[: len(other) - end]


def _fresh_field_of(examined: _Examined) -> FreshField | None:
    (whole, recorded, now), path = examined, examined.whole.path
    if ABSENT in (recorded, now) or type(recorded) is not type(now) or CHOSEN.search(path):
        return None
    if path in ("method", "scheme", "host"):
        return None
    kinds = _kinds_that_differ(recorded, now)
    if not kinds or not _are_equal(whole.recorded, whole.now, kinds):  # an id may also stand in lines that are equal
        return None
    is_value = isinstance(recorded, str | int | float) and (whole.in_body or path.startswith("query "))
    is_whole = is_value and all(_is_one_value(str(value), kinds) for value in (whole.recorded, whole.now))
    return FreshField(path, kinds, is_whole)


def find_fresh_parts(found: Sequence[Difference]) -> list[FreshField]:
    """Return the fields that hold values new in every run. Something else may differ in these fields, too."""
    examined = filter(None, _examine_differences(found))
    fields = (_fresh_field_of(each) or _fresh_parts_of(each) for each in examined)
    return [field for field in fields if field is not None]


def _fresh_parts_of(examined: _Examined) -> FreshField | None:
    whole, recorded, now = examined
    if not (isinstance(recorded, str) and isinstance(now, str)) or CHOSEN.search(whole.path):
        return None
    kinds = []
    for name, kind in KIND_BY_NAME.items():
        normalizer = _normalizer_of((name,))
        one, other = ({text[part[0] : part[1]] for part in normalizer.find_parts(text)} for text in (recorded, now))
        if kind.has_identity and one and other and one.isdisjoint(other):
            kinds.append(name)
    return FreshField(whole.path, tuple(kinds[:1]), is_whole=False) if kinds else None


def without_fresh_values(found: Sequence[Difference]) -> list[Difference]:
    """Return differences with placeholders for fresh values, without equal lines of texts.

    Two requests with equal lists differ by the same change of the program.
    """
    return [
        _without_fresh_values(examined) if examined else each
        for each, examined in zip(found, _examine_differences(found), strict=True)
    ]


def _without_fresh_values(examined: _Examined) -> Difference:
    """Represent a field in which only fresh values differ by its path and the kinds of fresh values there."""
    whole, recorded, now = examined
    one, other = _mask_value(recorded), _mask_value(now)
    if one != other:
        return replace(whole, recorded=one, now=other)
    kinds = dict.fromkeys(_PLACEHOLDER.findall(one)) if isinstance(one, str) else ()
    return replace(whole, recorded=" ".join([with_any_index(whole.path), *kinds]), now=ABSENT)


def _mask_value(value: Any) -> Any:
    return _normalizer_of(_ALL).mask_text(value) if isinstance(value, str) else value


# Never cleared: the keys are sets of kinds from one small table, and a normalizer does not change once it is built.
@cache
def _normalizer_of(kinds: tuple[str, ...]) -> Normalizer:
    return Normalizer(kinds)


def _is_one_value(text: str, kinds: tuple[str, ...]) -> bool:
    parts = _normalizer_of(kinds).find_parts(text)
    return len(parts) == 1 and parts[0][:2] == (0, len(text))


def _kinds_that_differ(recorded: Any, now: Any) -> tuple[str, ...]:
    """Return the fewest kinds of fresh values that explain the whole difference. Empty if something else differs."""
    if not _are_equal(recorded, now, _ALL):  # all kinds first: this decides most cases
        return ()
    texts = [str(recorded), str(now)]
    for name in _ALL:
        if any(map(_normalizer_of((name,)).find_parts, texts)) and _are_equal(recorded, now, (name,)):
            return (name,)
    # The kinds that occur in the values are nearly always enough. Each further kind would cost a search.
    present = {part.label for text in texts for part in _normalizer_of(_ALL).find_parts(text)}
    found = tuple(kind for kind in _ALL if kind in present)
    kinds = found if _are_equal(recorded, now, found) else _ALL
    for name in kinds:
        fewer = tuple(kind for kind in kinds if kind != name)
        if _are_equal(recorded, now, fewer):
            kinds = fewer
    return kinds


def _are_equal(recorded: Any, now: Any, kinds: tuple[str, ...]) -> bool:
    """Whether two values differ in nothing but fresh values of these kinds."""
    one, other = (RequestNormalizer(_normalizer_of(kinds)) for _ in range(2))
    if not (isinstance(recorded, str) and isinstance(now, str)):
        return bool(_rewrite_value(recorded, one) == _rewrite_value(now, other))
    lines, opposite = recorded.split("\n"), now.split("\n")
    # Line by line: the first line that differs decides most cases.
    return len(lines) == len(opposite) and all(
        one.rewrite_text(a) == other.rewrite_text(b) for a, b in zip(lines, opposite, strict=True)
    )


def _rewrite_value(value: Any, rewriter: RequestNormalizer) -> Any:
    if isinstance(value, dict) and "sha256" in value:  # a file of a multipart body
        return rewriter.rewrite_fields({"": [value]})
    return rewriter.rewrite_json(value)


def find_cure(
    request: RecordedRequest, recorded: RecordedRequest, found: Sequence[Difference], rules: MatchRules
) -> Cure | None:
    """Return the settings under which a request would match a recorded one.

    ``found`` are the differences of the two under ``rules``. Returns None if some of them are neither fresh values nor
    empty fields, or if no setting makes the two requests equal.
    """
    if not 0 < len(found) <= _MOST:
        return None
    if all(map(_is_empty, found)):
        cured = replace(rules, ignore=(*rules.ignore, EMPTY_FIELDS))
        if key_of(request, cured) == key_of(recorded, cured):  # not if it is an element of a list that is empty
            return Cure((), (_settings_that_changed(rules, cured),))
    examined = [each for each in _examine_differences(found) if each is not None]
    # All kinds first: one search decides most cases.
    if len(examined) < len(found) or not all(_are_equal(each.recorded, each.now, _ALL) for each in examined):
        return None
    fresh = [field for each in examined if (field := _fresh_field_of(each)) is not None]
    if len(fresh) < len(found):
        return None
    candidates: list[Callable[[], MatchRules]] = []
    if all(field.is_whole for field in fresh):
        candidates += [lambda: _rules_ignoring(rules, fresh, any_index=True), lambda: _rules_ignoring(rules, fresh)]
    kinds = dict.fromkeys(kind for field in fresh for kind in field.kinds)
    candidates.append(lambda: replace(rules, normalize=(*rules.normalize, *kinds)))
    advice: list[Advice] = []
    for make_rules in candidates:
        try:
            cured = make_rules()
        except ConfigError:  # the name of a field cannot be written as a JSON path, so this setting is not advised
            continue
        given = _settings_that_changed(rules, cured)
        known = any(given.keys() == other.keys() for other in advice)
        if given and not known and key_of(request, cured) == key_of(recorded, cured):
            advice.append(given)
    return Cure(tuple(fresh), tuple(advice)) if advice else None


def _is_empty(difference: Difference) -> bool:
    """Whether a field of a body differs only in being absent, null, ``{}``, or an object of such fields."""
    values = [difference.recorded, difference.now]
    while values:  # no recursion: the object may be nested too deeply for it
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif value is not None and value is not ABSENT:
            return False
    return difference.in_body


def find_ignorable(
    request: RecordedRequest, recorded: RecordedRequest, found: Sequence[Difference], rules: MatchRules
) -> Cure | None:
    """Return the settings that leave out the fields in which a request differs from a recorded one.

    Only numbers, flags and ids are left out, never a prompt, a model or a tool. ``found`` are the differences under
    ``rules``. Returns None if a field differs that must not be left out, or if no such settings make the two equal.
    """
    if not 0 < len(found) <= _MOST_IGNORED or not all(map(_can_be_ignored, found)):
        return None
    fields = [FreshField(difference.path, (), is_whole=True) for difference in found]
    try:
        cured = _rules_ignoring(rules, fields, any_index=True)
    except ConfigError:
        return None
    given = _settings_that_changed(rules, cured)
    return Cure(tuple(fields), (given,)) if given and key_of(request, cured) == key_of(recorded, cured) else None


def may_be_fresh(difference: Difference) -> bool:
    """Whether a field that can be ignored is perhaps new in every run: two numbers, or two words with digits."""
    values = difference.recorded, difference.now
    if not _PERHAPS_FRESH.search(difference.path) or any(isinstance(value, bool) for value in values):
        return False
    are_numbers = all(isinstance(value, int | float) for value in values)
    return are_numbers or all(_is_word(value) and re.search(r"\d", value) for value in values)


def _can_be_ignored(difference: Difference) -> bool:
    if not (difference.in_body or difference.path.startswith("query ")) or _ASKED.search(difference.path):
        return False
    return all(
        value is ABSENT or value is None or isinstance(value, bool | int | float) or _is_word(value)
        for value in (difference.recorded, difference.now)
    )


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_WORD and not re.search(r"\s", value)


def _rules_ignoring(rules: MatchRules, fresh: Sequence[FreshField], *, any_index: bool = False) -> MatchRules:
    """Return rules that leave fields out. With ``any_index``, fields of several elements of a list become one path.

    Raises ``ConfigError`` for a field that nobody could type.
    """
    paths = [field.path for field in fresh if not field.path.startswith("query ")]
    if any(len(path) > LONGEST_PATH or not path.isprintable() for path in paths):
        raise ConfigError("a path that is too long to be typed")
    general = list(map(with_any_index, paths))
    if any_index:
        paths = [wide if general.count(wide) > 1 else path for path, wide in zip(paths, general, strict=True)]
    names = [field.path.removeprefix("query ") for field in fresh if field.path.startswith("query ")]
    if any(len(name) > LONGEST_PATH or not name.isprintable() or re.search(r"[\s,]", name) for name in names):
        raise ConfigError("a parameter that cannot be typed")
    return replace(rules, ignore=(*rules.ignore, *paths), ignore_query=(*rules.ignore_query, *names))


def _settings_that_changed(before: MatchRules, after: MatchRules) -> Advice:
    names = ("ignore", "ignore_query", "normalize")
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


def write_advice(cure: Cure, settings_file: str = "") -> Iterator[str]:
    """Yield lines that name the fields that are new in every run, and each setting that leaves them out.

    ``settings_file`` is the name of the file for which the settings are written; empty for one that is not known.
    """
    yield ""
    first, *others = cure.advice
    if not cure.fields:
        yield "To compare fields that are null or {} as if they were absent:"
        yield from _write_settings(first, settings_file)
        yield from _write_places(["ignore"], settings_file)
        return
    leads = _LEADS_OF_SEVERAL if _are_several(cure.fields) else _LEADS
    lead = leads["normalize" if "normalize" in first else "ignore"]
    title = f"If {_describe_fields(cure.fields)} new in every run, {lead}"
    yield from textwrap.wrap(title, WIDTH)
    yield from _write_settings(first, settings_file)
    for each in others:
        yield from ("", f"or {leads['normalize']}")
        yield from _write_settings(each, settings_file)
    yield from _write_places(dict.fromkeys(name for each in cure.advice for name in each), settings_file)


def short_setting(cure: Cure | None, settings_file: str) -> str | None:
    """Return the first setting of a cure that fits on one line; empty if each setting needs more lines.

    Returns None without a cure, and for a cure of empty fields. ``settings_file`` is as for ``write_advice``.
    """
    if cure is None or not cure.fields:
        return None
    for each in cure.advice:
        lines = [line for name, values in each.items() for line in setting_lines(name, values, settings_file)]
        if len(lines) == 1:
            return lines[0]
    return ""


def _write_places(names: Iterable[str], settings_file: str) -> Iterator[str]:
    """Yield lines that say where settings are written, and in which form."""
    if settings_file == AS_ARGUMENTS:
        yield from ("", "(an argument of use_cassette; outside of pytest no ini file is read)")
        return
    given = ", ".join(f"{name}=" for name in names)
    in_file = settings_file or "pytest's settings; in a TOML file the value stands between ''' and '''"
    yield ""
    yield from textwrap.wrap(f"(in {in_file}; at the marker or use_cassette: {given})", WIDTH)


_LEADS = {
    "ignore": "leave it out of the comparison:",
    "normalize": "accept any value of its kind in its place:",
}
_LEADS_OF_SEVERAL = {
    "ignore": "leave them out of the comparison:",
    "normalize": "accept any values of their kinds in their places:",
}


def _write_settings(advice: Advice, settings_file: str) -> Iterator[str]:
    yield ""
    for name, values in advice.items():
        yield from (f"  {line}" for line in setting_lines(name, values, settings_file))


def _describe_fields(fields: Sequence[FreshField]) -> str:
    """Return the beginning of a sentence, up to its verb: ``user (a UUID) is``, ``the date in input is``."""
    named = [_describe_field(field) for field in fields[:_MOST_NAMED]]
    if len(fields) > _MOST_NAMED:
        named.append(count_of(len(fields) - _MOST_NAMED, "other field"))
    return f"{join_with_and(named)} {'are' if _are_several(fields) else 'is'}"


def _are_several(fields: Sequence[FreshField]) -> bool:
    """Whether there are several fields, or one field with several kinds of values."""
    return len(fields) > 1 or len(fields[0].kinds) > 1


def _describe_field(field: FreshField) -> str:
    path = clip_path(field.path)
    called = [KIND_BY_NAME[kind].called for kind in field.kinds]
    if not called:
        return path
    return f"{path} ({called[0]})" if field.is_whole else f"{join_with_and(called)} in {path}"


def write_remark(fresh: Sequence[FreshField], *, advises_settings: bool) -> Iterator[str]:
    """Yield a remark on fresh fields for requests of which no setting is enough.

    They differ in something else, too, or no setting helps, because not ``advises_settings``.
    """
    yield ""
    helps = (
        "recording again is not enough. Once nothing else differs, this message names the setting that is enough."
        if advises_settings
        else f"neither recording again nor a setting is enough: {OTHER_DECIDER}. Leave it out there."
    )
    yield from textwrap.wrap(f"{_describe_fields(fresh)} perhaps new in every run. If so, {helps}", WIDTH)
