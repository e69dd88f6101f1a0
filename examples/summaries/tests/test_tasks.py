"""The jobs. Their answers were recorded once; ``pytest --aquila-record`` records them again when a prompt changes."""

from __future__ import annotations

import pytest
from summaries import store
from summaries.tasks import generate_summary, stream_prompt

from aquila.errors import MissingKey, StreamBroken
from aquila.testing import BuildTask, PerformJob

DOCUMENT = (
    "The harbour of Tern Bay will close for three weeks in March. The north wall, built in 1931, has lost a third of "
    "its stones below the water line. The repair costs four million and should hold for eighty years."
)
PROMPT = "Tell me about eagles in two sentences."


def test_a_summary_and_the_raw_answer_are_stored(perform_job: PerformJob) -> None:
    run = perform_job(generate_summary, DOCUMENT)

    row = store.find(run.task.id)
    assert row is not None
    assert row.status == "done"
    assert row.text == run.value
    assert "Tern Bay" in row.text
    assert len(row.text) < len(DOCUMENT) * 1.2
    assert row.raw["object"] == "chat.completion"
    assert row.raw["choices"][0]["message"]["content"] == row.text
    assert row.raw["usage"]["completion_tokens"] > 10


def test_every_chunk_of_a_stream_is_stored_in_order(perform_job: PerformJob) -> None:
    run = perform_job(stream_prompt, PROMPT)

    row = store.find(run.task.id)
    assert row is not None
    assert row.status == "done"
    assert "eagle" in row.text.lower()
    assert len(row.chunks) > 20
    assert "".join(row.chunks) == row.text == run.value


def test_a_job_that_is_run_again_replaces_what_the_first_attempt_stored(
    perform_job: PerformJob, build_task: BuildTask
) -> None:
    task = build_task(stream_prompt, PROMPT)
    store.put(task.id, "stream_prompt", PROMPT, "running")
    store.add_chunk(task.id, 0, "the connection broke after this chunk")

    perform_job(task)

    row = store.find(task.id)
    assert row is not None
    assert "broke" not in row.text
    assert "".join(row.chunks) == row.text


@pytest.mark.aquila(faults="cut_stream(after=5)")
def test_a_job_survives_a_stream_that_is_cut(perform_job: PerformJob, build_task: BuildTask) -> None:
    task = build_task(stream_prompt, PROMPT)

    first = perform_job(task, raises=StreamBroken)

    row = store.find(task.id)
    assert row is not None
    assert row.status == "failed"
    assert 0 < len(row.chunks) < 5
    assert first.retry is not None

    second = perform_job(task)

    row = store.find(task.id)
    assert row is not None
    assert row.status == "done"
    assert len(row.chunks) > 20
    assert "".join(row.chunks) == row.text == second.value


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(
            "finish_length", "the answer was cut off: length", marks=pytest.mark.aquila(faults="finish_length")
        ),
        pytest.param("refusal", "the model refused: I'm sorry", marks=pytest.mark.aquila(faults="refusal")),
        pytest.param("empty_answer", "the model said nothing", marks=pytest.mark.aquila(faults="empty_answer")),
    ],
)
def test_an_answer_that_is_not_whole_is_stored_as_such(fault: str, error: str, perform_job: PerformJob) -> None:
    run = perform_job(generate_summary, DOCUMENT)

    row = store.find(run.task.id)
    assert row is not None
    assert row.status == "partial"
    assert error in row.error
    assert row.text == run.value


@pytest.mark.aquila(transport="live")
def test_a_job_that_fails_says_why_and_is_tried_again(perform_job: PerformJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    run = perform_job(generate_summary, DOCUMENT, raises=MissingKey)

    row = store.find(run.task.id)
    assert row is not None
    assert row.status == "failed"
    assert "OPENAI_API_KEY" in row.error
    assert run.retry is not None
    assert run.retry.delay == 10
    assert run.retry.left == 1
