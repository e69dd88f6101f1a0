"""Kinds of values that are new in every run: what each is, and what it is not."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.fresh_value_placeholders import Normalizer, RequestNormalizer
from aquila.cassettes.matching.fresh_values import KIND_BY_NAME, KINDS, FreshKind

OPENAI_CALL = "call_" + "aB3dE5gH7jK9mN1pQ3sTuV5w"

FOUND = [
    ("uuid", "id 0B7E4A1C-8A38-4b0f-9d51-0123456789AB.", "id ⟨uuid⟩."),
    ("uuid", "run-0b7e4a1c-8a38-4b0f-9d51-0123456789ab", "run-⟨uuid⟩"),
    ("uuid", "job_0b7e4a1c-8a38-4b0f-9d51-0123456789ab_x", "job_⟨uuid⟩_x"),
    ("hex", "trace 4bf92f3577b34da6a3ce929d0e0e4736", "trace ⟨hex⟩"),
    ("hex", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-⟨hex⟩-⟨hex 2⟩-01"),
    ("hex", "resp_68f0a1b2c3d4e5f6a7b8c9d0", "resp_⟨hex⟩"),
    ("hex", "main.1.9f86d081884c7d65.js", "main.1.⟨hex⟩.js"),
    ("ulid", "01JDKQ7Z3V8W9X2Y4ZABCDEFGH", "⟨ulid⟩"),
    ("prefixed_id", f"{OPENAI_CALL}: ok", "⟨prefixed_id⟩: ok"),
    ("prefixed_id", "chatcmpl-" + "BxYz12345678abcdefGHIJ", "⟨prefixed_id⟩"),
    ("prefixed_id", "function-call-1234567890123456789", "function-⟨prefixed_id⟩"),
    ("random_id", "2NxVQwRk8sTfLmPq7ZbYcDeGhJa", "⟨random_id⟩"),
    ("datetime", "at 2026-11-24T14:22:31.123456+00:00, say", "at ⟨datetime⟩, say"),
    ("datetime", "2026-11-24 14:22", "⟨datetime⟩"),
    ("datetime", "Tue, 24 Nov 2026 14:22:31 GMT", "⟨datetime⟩"),
    ("datetime", "Tue Nov 24 14:22:31 2026", "⟨datetime⟩"),
    ("datetime", "November 24, 2026 at 2:22 PM", "⟨datetime⟩"),
    ("datetime", "20261124T142231Z", "⟨datetime⟩"),
    ("date", "Today is Tuesday, November 24, 2026.", "Today is ⟨date⟩."),
    ("date", "24.11.2026 11/24/2026 2026/11/24 20261124", "⟨date⟩ ⟨date⟩ ⟨date⟩ ⟨date⟩"),
    ("date", "the 24th of November 2026", "the ⟨date⟩"),
    ("date", "/logs/2026-11-24/report_2026-11-24", "/logs/⟨date⟩/report_⟨date⟩"),
    ("date", "24-11-2026 2026-1-5 24/Nov/2026 24 NOV 2026 11/24/26", "⟨date⟩ ⟨date⟩ ⟨date⟩ ⟨date⟩ ⟨date⟩"),
    ("date", "vom 01.12.26 bis Mittwoch, 2. Dezember 2026", "vom ⟨date⟩ bis ⟨date⟩"),
    ("date", "jeudi 1er janvier 2026, 2 de enero de 2026, 2026年1月2日", "⟨date⟩, ⟨date⟩, ⟨date⟩"),
    ("datetime", "log_2026-11-24_14-22-31.txt log_20261124-142231", "log_⟨datetime⟩.txt log_⟨datetime⟩"),
    ("datetime", "[24/Nov/2026:14:22:31 +0000] 2. Dez. 2026 um 14:22 Uhr", "[⟨datetime⟩] ⟨datetime⟩ Uhr"),
    ("datetime", r'{"text": "first line\n2026-11-24 14:22"}', r'{"text": "first line\n⟨datetime⟩"}'),
    ("uuid", r'{"text": "\t0b7e4a1c-8a38-4b0f-9d51-0123456789ab"}', r'{"text": "\t⟨uuid⟩"}'),
    ("time", "It is 14:22:31 now, or 2:22 pm", "It is ⟨time⟩ now, or ⟨time⟩"),
    ("timestamp", "t=1764000000&u=1764000000123", "t=⟨timestamp⟩&u=⟨timestamp⟩"),
    ("tmp_path", "see /tmp/pytest-of-ada/pytest-12/test_it0/a.txt", "see ⟨tmp_path⟩/test_it0/a.txt"),
    ("tmp_path", "/tmp/pytest-of-ada/pytest-12/popen-gw3/test_it0", "⟨tmp_path⟩/test_it0"),
    ("tmp_path", "/build/x/pytest-of-ada/pytest-12/test_it0", "⟨tmp_path⟩/test_it0"),
    ("tmp_path", "/private/var/folders/ab/c_d/T/tmpab12cd34/a.txt", "⟨tmp_path⟩/a.txt"),
    ("tmp_path", r"C:\Users\Ada\AppData\Local\Temp\tmpab12cd34\a.txt", r"⟨tmp_path⟩\a.txt"),
    ("tmp_path", "upload of tmpab12_d34.wav", "upload of ⟨tmp_path⟩.wav"),
    ("tmp_path", "读取《/tmp/tmpab12/a.txt》，或/tmp/ab12的内容。", "读取《⟨tmp_path⟩/a.txt》，或⟨tmp_path 2⟩的内容。"),
    ("tmp_path", "Read /tmp/tmpab12. Delete **/tmp/tmpab12**!", "Read ⟨tmp_path⟩. Delete **⟨tmp_path⟩**!"),
    ("boundary", "multipart/related; boundary=9f86d081884c7d65", "multipart/related; boundary=⟨boundary⟩"),
    ("boundary", "--9f86d081884c7d65\r\nx\r\n--9f86d081884c7d65--\r\n", "--⟨boundary⟩\r\nx\r\n--⟨boundary⟩--\r\n"),
    ("port", "http://127.0.0.1:49213/a and localhost:8000", "http://127.0.0.1:⟨port⟩/a and localhost:⟨port 2⟩"),
    ("address", "<Job object at 0x7f3a2c1b9d40>", "<Job object at ⟨address⟩>"),
]


def normalized(text: str, *names: str) -> str:
    return RequestNormalizer(Normalizer(names)).rewrite_text(text)


@pytest.mark.parametrize(("name", "text", "rewritten"), FOUND)
def test_what_a_kind_finds(name: str, text: str, rewritten: str) -> None:
    assert normalized(text, name) == rewritten


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_example_of_a_kind_is_one(kind: FreshKind) -> None:
    assert f"⟨{kind.name}⟩" in normalized(kind.example, kind.name)


@pytest.mark.parametrize(
    "text",
    [
        "Summarise the report in three sentences, please.",
        "gpt-4o-2024-08-06 claude-3-5-sonnet-20241022 2024-02-15-preview",
        "get_current_weather_for_location internationalization electroencephalographically",
        "some_internationalization MAX_RETRIES_OF_CLIENT getCurrentTemperatureForLocation",
        "Python 3.11.7 openai 1.12.0 Django 4.2.24 urllib3 2.6.11",
        "at 10.12.26.1 /v1/2/3/25/x; 2 films 2026, so 3 de 2026",
        "feature-implementation us-east-1a v1.25.2024 3.14159 1999 42 100000000",
        "score 0.7319052875183491 and 3.0517578125000001e-05",  # of random floats, some have too few digits for an id
        "---- a line ----\n--------------------\n--verbose\n",
        "https://api.openai.com/v1/chat/completions http://example.com:8080/x",
        "/home/ada/project/tmp/file.txt template tmpl",
    ],
)
def test_what_is_no_fresh_value(text: str) -> None:
    assert normalized(text, *KIND_BY_NAME) == text


def test_what_python_makes_is_found(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as file:
        for path in (folder, file.name):
            assert "⟨tmp_path⟩" in normalized(f"read {path}/a.txt", "tmp_path")
    assert normalized(uuid.uuid4().hex, "hex") == "⟨hex⟩"


@given(
    st.lists(st.sampled_from([*(row[1] for row in FOUND), "-", " ", "_", "⟨uuid⟩", "x", "\n"]) | st.text(max_size=6))
)
def test_normalizing_twice_is_normalizing_once(pieces: list[str]) -> None:
    once = normalized("".join(pieces), *KIND_BY_NAME)
    assert normalized(once, *KIND_BY_NAME) == once


def test_the_page_on_matching_lists_every_kind() -> None:
    page = (Path(__file__).parents[3] / "docs" / "matching.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith(tuple(f"| `{kind.name}` | a" for kind in KINDS))] == [
        f"| `{kind.name}` | {kind.called} | `{kind.example}` |" for kind in KINDS
    ], "the rows of docs/matching.md, and those that KINDS gives"
