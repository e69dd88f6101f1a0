"""The index of jobs: it knows what the storage has, and finds what is asked for."""

import json
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.huey.live.job_index import JobIndex, JobQuery, JobRates
from aquila.huey.live.retention import forget_jobs
from aquila.huey.live.summaries import JOBS_TABLE, STATES, JobRun, JobSummary, decode_summary
from aquila.huey.live.worker_heartbeats import WORKERS_TABLE
from aquila.huey.state import state_of
from tests.support.slow import slow_but
from tests.support.threads import run_at_once

ALIVE = "host:1:a"


def put(huey, number, state="done", order=None, **fields):
    job = JobSummary(str(uuid.UUID(int=number)), created=1000.0 + number, **{"name": "app.write", **fields})
    if state not in ("queued", "scheduled"):
        job.runs = [JobRun(f"r{number}", state=state, started=2000.0, ended=3000.0, worker=ALIVE)]
    if state == "scheduled":
        job.eta = 9e9
    state_of(huey).put(JOBS_TABLE, job.id, job.encode(), order=3000.0 + number if order is None else order)
    return job.id


def beat(huey, worker=ALIVE, *, silent_for=0.0):
    about = {"host": "host", "pid": 1, "workers": 4, "running": 0, "every": 1.0}
    state = state_of(huey)
    state.put(WORKERS_TABLE, worker, json.dumps(about).encode(), order=state.now() - silent_for)


def look(index):
    index._looked = index._counted = -1.0
    index.refresh()
    if index._reading is not None:
        index._reading.join()


def found(index, state="", name="", search="", offset=0, limit=50):
    return index.find(JobQuery.read(state, name, search), offset=offset, limit=limit)


@pytest.mark.parametrize("kind", slow_but(["memory", "sqlite"], ["memory", "sqlite", "redis"]))
def test_all_jobs_are_found_the_newest_first_page_by_page(published, kind):
    huey = published(kind)
    jobs = [put(huey, number) for number in range(2500)]
    index = JobIndex(huey)
    look(index)
    assert index.is_complete
    pages = [found(index, offset=at, limit=700) for at in range(0, 2800, 700)]
    assert [job for page, _ in pages for job in page] == jobs[::-1]
    assert {total for _, total in pages} == {2500}
    assert found(index, offset=10_000) == ([], 2500)


def test_the_thread_that_reads_older_jobs_ends_without_changing_what_a_look_reads(published):
    index = JobIndex(published())
    index._reading = reading = threading.Thread(target=index._read_older)
    reading.start()
    reading.join()
    assert index.is_complete
    assert index._reading is reading  # A look asks it whether it is alive, and must not find None in its place.


def test_many_jobs_with_the_same_time_are_all_found(published):
    huey = published()
    jobs = {put(huey, number, order=5.0) for number in range(2500)}
    index = JobIndex(huey)
    look(index)
    assert set(found(index, limit=5000)[0]) == jobs


def test_jobs_are_chosen_by_state_task_and_words(published):
    huey = published()
    beat(huey)
    made = {state: put(huey, number, state) for number, state in enumerate(STATES) if state != "interrupted"}
    made["other"] = put(huey, 50, name="app.read", arguments='{"topic": "Golden Eagles"}')
    index = JobIndex(huey)
    look(index)
    for state in set(made) - {"done", "other"}:
        assert found(index, state=state) == ([made[state]], 1)
    assert found(index, name="app.read") == ([made["other"]], 1)
    assert found(index, search="eagles GOLDEN") == ([made["other"]], 1)
    assert found(index, search="eagles silver") == ([], 0)
    assert found(index, search=made["failed"][-12:]) == ([made["failed"]], 1)
    assert found(index, state="failed", search="eagles") == ([], 0)
    assert dict(+index.states) == {state: 1 for state in STATES if state not in ("interrupted", "done")} | {"done": 2}
    assert index.names == {"app.read": 1, "app.write": 8}


def test_changes_are_seen(published):
    huey = published()
    beat(huey)
    job = put(huey, 1, "queued")
    index = JobIndex(huey)
    look(index)
    assert found(index, state="queued")[1] == 1
    put(huey, 1, "running", order=4000.0)
    put(huey, 2, "done", order=4000.0)
    look(index)
    assert found(index, state="running") == ([job], 1)
    assert found(index)[1] == 2
    assert +index.states == {"running": 1, "done": 1}


def test_changes_are_seen_after_the_clock_of_the_storage_was_put_back(published):
    huey = published()
    index, now = JobIndex(huey), state_of(huey).now()
    first = put(huey, 1, order=now + 3600)
    look(index)
    second = put(huey, 2, order=now)
    index._looked -= 1
    index.refresh()
    assert found(index) == ([second, first], 2)


def test_a_job_whose_worker_is_gone_is_interrupted(published):
    huey = published()
    beat(huey)
    job = put(huey, 1, "running")
    index = JobIndex(huey)
    look(index)
    assert found(index, state="running") == ([job], 1)
    beat(huey, silent_for=60.0)
    look(index)
    assert found(index, state="running") == ([], 0)
    assert found(index, state="interrupted") == ([job], 1)
    assert index.state_of_job(index.load([job])[0]) == "interrupted"
    assert [worker.is_alive for worker in index.workers] == [False]
    beat(huey)
    look(index)
    assert found(index, state="running") == ([job], 1)


def test_jobs_that_others_forget_are_forgotten(published):
    huey = published()
    jobs = [put(huey, number) for number in range(10)]
    index = JobIndex(huey)
    look(index)
    for job in (jobs[0], jobs[1], jobs[6]):
        forget_jobs(state_of(huey), job)
    look(index)
    assert set(found(index)[0]) == set(jobs) - {jobs[0], jobs[1], jobs[6]}
    assert index.states["done"] == 7


def test_a_storage_that_fails_while_older_jobs_are_read_is_asked_again(published, monkeypatch):
    huey = published()
    for number in range(1500):
        put(huey, number)
    index, state = JobIndex(huey), state_of(huey)
    read = state.entries

    def fail_below(table, **options):
        if "below" in options and table == JOBS_TABLE:
            raise ConnectionError
        return read(table, **options)

    monkeypatch.setattr(state, "entries", fail_below)
    look(index)
    assert not index.is_complete
    assert found(index)[1] == 1000
    monkeypatch.undo()
    look(index)
    assert index.is_complete
    assert found(index)[1] == 1500


def test_many_threads_may_look_at_once(published):
    huey = published()
    for number in range(3000):
        put(huey, number)
    index, failures = JobIndex(huey), []

    def look_often():
        try:
            for _ in range(20):
                index._looked = -1.0
                index.refresh()
                found(index, search="write")
        except (RuntimeError, IndexError, KeyError) as error:
            failures.append(error)

    run_at_once([look_often] * 4)
    look(index)
    assert failures == []
    assert found(index)[1] == 3000


def test_rates_count_what_ended_when():
    rates = JobRates()
    for ended in (1000.0, 1005.0, 1055.0, 900.0):
        rates.count("done", ended, 1)
    rates.count("failed", 1059.0, 1)
    rates.count("running", 1059.0, 1)
    assert rates.per_minute("done", 1059.0) == 3
    assert rates.per_minute("failed", 1059.0) == 1
    assert rates.by_minute("done", 1059.0, 4) == [0, 1, 2, 1]
    rates.count("done", 1055.0, -1)
    assert rates.per_minute("done", 1059.0) == 2


def test_rates_keep_nothing_of_jobs_that_are_forgotten():
    rates = JobRates()
    for number in (1, -1):
        for ended in range(0, 1000, 10):
            rates.count("done", ended + 1.0, number)
    assert rates._counts["done"] == {}


RUNS = st.builds(
    JobRun,
    key=st.sampled_from(["a", "b", "c"]),
    attempt=st.integers(1, 4),
    state=st.sampled_from(STATES),
    started=st.floats(0, 1e10),
    error=st.text(),
    tail=st.text(),
)


@given(st.builds(JobSummary, id=st.text(), name=st.text(), created=st.floats(0, 1e10), runs=st.lists(RUNS, max_size=5)))
def test_a_summary_comes_back_as_it_was(summary):
    again = decode_summary(summary.id, summary.encode())
    for record in (summary, *summary.runs):  # lone surrogates are no text that any storage keeps
        for name in ("name", "error", "tail"):
            if hasattr(record, name):
                setattr(record, name, getattr(record, name).encode("utf-8", "replace").decode())
    assert again == summary


@given(st.permutations([JobRun("a", attempt=1, state="retrying"), JobRun("b", attempt=2), JobRun("c", 2, 1, "done")]))
def test_the_last_run_decides_whatever_the_order_in_which_workers_tell(runs):
    summary = JobSummary("x")
    for run in runs:
        summary.put_run(run)
    assert summary.state == "done"
    assert [run.key for run in summary.runs] == ["a", "b", "c"]


def test_a_summary_keeps_a_bounded_number_of_runs():
    summary = JobSummary("x")
    for attempt in range(1, 101):
        summary.put_run(JobRun(f"r{attempt}", attempt=attempt))
    assert len(summary.runs) == 20
    assert summary.earlier == 80
    assert summary.attempt == 100
