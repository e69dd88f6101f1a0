"""The lines of a verification, as a reader gets them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aquila.recording.reporting.play_log import PlayedRecording
from aquila.verifying.comparison import AnswerComparison, Finding, Likeness
from aquila.verifying.report import describe_verification
from aquila.verifying.verification import Measured, Result, Verification, VerifiedRecording

ROOT = Path("/project")


def verified(result: Result, text: str, number: int) -> VerifiedRecording:
    played = PlayedRecording(ROOT / "x.yaml", number, (), "live", None)
    found = (Finding("refused", "critical", "", text),) if result == "critical" else ()
    return VerifiedRecording(played, None, result, "" if found else text, AnswerComparison(found))


@pytest.mark.parametrize(
    ("result", "begin", "end"),
    [
        ("skipped", "skipped: 2 recordings: ", ""),
        ("not verifiable", "not verifiable: ", " [x.yaml 1, x.yaml 2]"),
        ("critical", "critical: ", " [x.yaml 1, x.yaml 2]"),
    ],
)
@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (("GET /v1/files/file-9oXb2Lq8Z1", "GET /v1/files/file-Ab3dE5gH71"), "GET /v1/files/…"),
        (("no batch_67b1f00d9a", "no batch_67b1f00d9b"), "no …"),
        (("GET /v1/files/file-9oXb2Lq8Z1",) * 2, "GET /v1/files/file-9oXb2Lq8Z1"),
    ],
)
def test_what_differs_only_in_ids_is_one_line(
    result: Result, begin: str, end: str, texts: tuple[str, str], shown: str
) -> None:
    rows = [verified(result, text, number) for number, text in enumerate(texts)]
    first, *_ = describe_verification(Verification(rows), ROOT)
    assert first.text == f"{begin}{shown}{end}"


def test_other_models_paths_and_types_of_tools_are_other_lines() -> None:
    texts = ["no gpt-4.1-mini-2025-04-14", "no gpt-4o-2024-08-06", "GET /v1/files", "GET /v1/batches"]
    texts += ["no tool 'bash_20241022'", "no tool 'text_editor_20241022'", "no tool 'text_editor_20250124'"]
    rows = [verified("skipped", text, number) for number, text in enumerate(texts)]
    assert len(list(describe_verification(Verification(rows), ROOT))) == len(texts) + 1


@pytest.mark.parametrize(
    ("answers", "tokens", "shown"),
    [
        ([("identical", 1.0)], 0, "1 identical; 0.1 s then, 0.3 s now"),
        ([("reworded", 0.5)] * 2, 900, "2 reworded (50% of the words the same); 1,800 tokens and 0.2 s then, 0 and "),
        (
            [("reworded", 0.75), ("reworded", 0.5), ("identical", 1.0)],
            1,
            "2 reworded (50% to 75% of the words the same), 1 identical; 3 tokens and 0.3 s then, 0 and 0.9 s now",
        ),
    ],
)
def test_the_last_lines_name_other_models_and_sum_up_answers_tokens_and_times(
    answers: list[tuple[Likeness, float]], tokens: int, shown: str
) -> None:
    then, now = Measured(200, tokens, 100, "m"), Measured(200, 0, 300, "n")
    rows = [
        replace(verified("same", "", 0), comparison=AnswerComparison((), *answer), then=then, now=now)
        for answer in answers
    ]
    models, last = describe_verification(Verification(rows), ROOT)
    assert models.text == f"answered by n, was m [{', '.join(['x.yaml 1'] * len(rows))}]"
    assert f"{len(rows)} the same; answers: {shown}" in last.text
