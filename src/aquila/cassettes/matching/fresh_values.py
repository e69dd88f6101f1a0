"""The table of the kinds of values that are new in every run: ids, times, temporary paths.

The setting ``normalize`` names a kind to leave its values out of the comparison. The message of a miss looks for these
kinds in the values that differ. No pattern reads a stretch of text more than a small fixed number of times, so that a
search takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

OPEN, CLOSE = "⟨", "⟩"
"""The first and the last character of a placeholder. The patterns treat both as letters, like the replaced value."""

# Used instead of \b, which lets a value begin or end beside a placeholder, and treats `_` as a letter. A value may also
# follow the escape of a line break: the arguments of a tool are JSON in a text of JSON.
_BEGIN = rf"(?<![0-9A-Za-z{CLOSE}](?<!\\[nrt]))"
_END = f"(?![0-9A-Za-z{OPEN}])"
# No date is found behind a dash, as in the name of a model (`gpt-4o-2024-08-06`), or before a dash and a word, as in
# the version of an API. The first characters are listed because that makes the search faster.
_BEGIN_DATE = rf"(?=[0-9A-Zdjlmsv]){_BEGIN}(?<![0-9A-Za-z{CLOSE}][-.])"
_END_DATE = rf"{_END}(?![-.][0-9A-Za-z{OPEN}])"

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH_NAME = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
# In German, French and Spanish the day comes first.
_MONTH_AFTER_DAY = (
    rf"(?i:{_MONTH_NAME}|(?:Januar|Jänner|Februar|März?|Mrz|Mai|Juni|Juli|Okt(?:ober)?|Dez(?:ember)?"
    r"|janv(?:ier)?|févr(?:ier)?|mars|avr(?:il)?|juin|juil(?:let)?|août|septembre|octobre|novembre|déc(?:embre)?"
    r"|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)\.?)"
)
_WEEKDAY = (
    r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
    r"|(?:Mon|Diens|Donners|Frei|Sams|Sonn)tag|Mittwoch|Sonnabend|(?:lun|mar|mercre|jeu|vendre|same)di|dimanche"
    r"|lunes|martes|miércoles|jueves|viernes|sábado|domingo)"
)
# A year of two digits is one of these decades, and between dots day and month have two digits too, as they hardly have
# in a version (`4.2.24`).
_DATE = (
    rf"(?:{_WEEKDAY},? )?(?:"
    rf"{_YEAR}[-/]{_MONTH}[-/]{_DAY}"
    rf"|{_DAY}[-.]{_MONTH}[-.]{_YEAR}"
    rf"|\d\d?/\d\d?/{_YEAR}"
    r"|(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.[23]\d"
    rf"|(?<!/)\d\d?/\d\d?/[23]\d(?!/)"
    rf"|{_YEAR}年{_MONTH}月{_DAY}日"
    rf"|{_DAY}(?:st|nd|rd|th|er|\.)?[ /-](?:of |de )?{_MONTH_AFTER_DAY},?(?:[ /-]| de ){_YEAR}"
    rf"|{_MONTH_NAME} {_DAY}(?:st|nd|rd|th)?,? {_YEAR})"
)
_COMPACT_DATE = rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_ZONE = r"(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?: ?[AaPp]\.?[Mm]\.?)?"
_TIME_IN_NAME = r"(?:[01]\d|2[0-3])-[0-5]\d-[0-5]\d"

# A digit, or letters whose case changes as in few names of programs: most camelCase names have single capitals.
_NOT_A_WORD = r"(?=[A-Za-z]{0,80}?(?:\d|[a-z][A-Z]{2}|[A-Z]{2}[a-z]))"
_TEMPORARY_ROOT = (
    r"(?:/private)?/(?:tmp|var/tmp|var/folders/[^/\s]{1,40}/[^/\s]{1,80}/T|dev/shm)/"
    r"|[A-Za-z]:[\\/](?:Users[\\/][^\\/\s]{1,80}[\\/]AppData[\\/]Local[\\/]|Windows[\\/])Temp[\\/]"
)
_NAME_IN_PATH = r"[^\\/\s\"'<>|,;:()\[\]{}`⟨⟩]{1,255}"
# Only characters of Latin, because scripts without blanks write on behind a path; and no punctuation at its end.
_TEMPORARY_NAME = r"[^\\/\s\"'<>|,;:()\[\]{}`«»\u0250-\U0010ffff]{1,255}(?<![.!?*])"


class FreshKind(NamedTuple):
    """A kind of value that is new in every run.

    ``name`` is its name in the setting ``normalize``, ``called`` its name in a sentence, and ``example`` such a value.
    A match of ``pattern`` is a value. If the pattern has groups, the first group that matched is the value. No value
    has fewer than ``shortest`` characters. ``has_identity`` says that two equal values in one request mean the same
    thing, as two equal ids do. Two equal times are a coincidence.
    """

    name: str
    called: str
    example: str
    pattern: str
    shortest: int
    has_identity: bool = True


KINDS = (
    FreshKind(
        "uuid",
        "a UUID",
        "0b7e4a1c-8a38-4b0f-9d51-0123456789ab",
        rf"{_BEGIN}[0-9a-fA-F]{{8}}-(?:[0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}{_END}",
        shortest=36,
    ),
    FreshKind(
        "ulid",
        "a ULID",
        "01JDKQ7Z3V8W9X2Y4ZABCDEFGH",
        # Crockford's base32, without I, L, O and U; 48 bits of time let the first digit be 7 at most.
        rf"{_BEGIN}(?:[0-7][0-9A-HJKMNP-TV-Z]{{25}}|[0-7][0-9a-hjkmnp-tv-z]{{25}}){_END}",
        shortest=26,
    ),
    FreshKind(
        "datetime",
        "a date with a time",
        "2026-11-24T14:22:31Z",
        rf"{_BEGIN_DATE}(?:{_DATE}(?:[T:]|,? (?:at |um )?){_TIME}{_ZONE}|{_COMPACT_DATE}[T_-]?\d{{6}}(?:\.\d{{1,9}})?Z?"
        rf"|{_YEAR}-{_MONTH}-{_DAY}[T_-]{_TIME_IN_NAME}Z?"
        rf"|{_WEEKDAY} {_MONTH_NAME} [ \d]?\d {_TIME}(?: [A-Z]{{3,4}})? {_YEAR}){_END}",
        shortest=12,
        has_identity=False,
    ),
    FreshKind(
        "timestamp",
        "a Unix time",
        "1764000000",
        # From 2017 to 2033, in seconds, milliseconds, microseconds or nanoseconds.
        rf"{_BEGIN}(?<!\d\.)1[5-9]\d{{8}}(?:\d{{3}}|\d{{6}}|\d{{9}})?(?:\.\d{{1,9}})?{_END}",
        shortest=10,
        has_identity=False,
    ),
    FreshKind(
        "date",
        "a date",
        "2026-11-24",
        rf"{_BEGIN_DATE}(?:{_DATE}|{_COMPACT_DATE}){_END_DATE}",
        shortest=6,
        has_identity=False,
    ),
    FreshKind("time", "a time of day", "14:22:31", rf"{_BEGIN}{_TIME}{_ZONE}{_END}", shortest=4, has_identity=False),
    FreshKind(
        "hex",
        "a hexadecimal id",
        "9f86d081884c7d659a2feaa0c55ad015",
        # Not the digits of a float: a random one has fewer of them now and then, and would not match in that run.
        rf"{_BEGIN}(?!(?<=\d\.)\d{{1,512}}(?:[eE][+-]?\d{{1,3}})?{_END})[0-9a-fA-F]{{16,512}}{_END}",
        shortest=16,
    ),
    FreshKind(
        "prefixed_id",
        "an id with a prefix",
        "call_aB3dE5gH7jK9mN1pQ3sTuV5w",
        rf"{_BEGIN}[A-Za-z][0-9A-Za-z]{{0,23}}[_-]{_NOT_A_WORD}[0-9A-Za-z]{{16,200}}{_END}",
        shortest=18,
    ),
    FreshKind(
        "random_id",
        "a random id",
        "2NxVQwRk8sTfLmPq7ZbYcDeGhJa",
        rf"{_BEGIN}(?=[0-9A-Z]{{0,80}}[a-z])(?=[0-9a-z]{{0,80}}[A-Z]){_NOT_A_WORD}[0-9A-Za-z]{{20,200}}{_END}",
        shortest=20,
    ),
    FreshKind(
        "tmp_path",
        "a temporary path",
        "/tmp/pytest-of-ada/pytest-12",
        rf"{_BEGIN}(?:{_TEMPORARY_ROOT})(?:pytest-of-{_NAME_IN_PATH}[\\/]pytest-\d+(?:[\\/]popen-gw\d+)?|{_TEMPORARY_NAME})"
        rf"|(?:[\\/][\w.+-]{{1,64}}){{0,12}}[\\/]pytest-of-{_NAME_IN_PATH}[\\/]pytest-\d+(?:[\\/]popen-gw\d+)?"
        rf"|{_BEGIN}tmp[a-z0-9_]{{8}}(?![0-9A-Za-z_{OPEN}])",
        shortest=6,
    ),
    FreshKind(
        "boundary",
        "a multipart boundary",
        "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        rf"(?m:boundary=\"?([0-9A-Za-z'()+_,./:=?-]{{8,70}})(?![0-9A-Za-z{OPEN}])"
        r"|^--((?=[^\w\r\n]{0,70}\w{6})[0-9A-Za-z'()+_,./:=?-]{8,70}?)(?:--)?[ \t]?\r?$)",
        shortest=10,
    ),
    FreshKind(
        "port",
        "a port of this machine",
        "localhost:49213",
        rf"(?:localhost|127\.0\.0\.1|\[::1\]):(\d{{4,5}}){_END}",
        shortest=10,
    ),
    FreshKind("address", "an address in memory", "0x7f3a2c1b9d40", rf"{_BEGIN}0x[0-9a-fA-F]{{6,16}}{_END}", shortest=8),
)
"""The table. Of two kinds that match the same text, the first counts."""

KIND_BY_NAME: Mapping[str, FreshKind] = {kind.name: kind for kind in KINDS}


# Compiled when it is first asked for, because most runs use no kind. One entry for each row of the table.
@cache
def pattern_of(name: str) -> re.Pattern[str]:
    """Return the compiled pattern of a kind."""
    return re.compile(KIND_BY_NAME[name].pattern)
