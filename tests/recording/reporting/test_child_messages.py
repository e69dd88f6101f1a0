"""Misses of child processes reach the test that has started the process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aquila import errors
from aquila.recording.reporting import child_messages, message_files
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.described_misses import describe_miss, miss_from
from tests.support.runs import separate_run
from tests.support.slow import slow_but

MISSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CassetteMiss)]


@pytest.mark.parametrize("kind", MISSES, ids=lambda kind: kind.__name__)
def test_every_kind_of_miss_arrives_as_it_was(kind: type[errors.CassetteMiss]) -> None:
    arrived = miss_from(json.loads(json.dumps(describe_miss(kind("what was asked", difference="a", group="b")))))
    assert (arrived.public_class, str(arrived)) == (kind, "what was asked")
    assert (arrived.difference, arrived.group) == ("a", "b")


def test_a_scope_is_asked_for_messages_once_there_may_be_some(tmp_path: Path) -> None:
    with separate_run(tmp_path) as run:
        told = run.state_of(ChildMessages)
        assert not told.files.may_have_rows
        told.make_folder(run)
        assert not told.files.may_have_rows
        told.tell_miss("scope", errors.CassetteMiss("asked"))  # within the same tick of the clock
        assert told.files.may_have_rows
        child = ChildMessages(told.folder)
        assert child.files.may_have_rows  # of a folder that another process has made nothing is known


def test_a_child_shows_no_key_that_its_test_has_set_while_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"
    with separate_run(tmp_path) as run, run.running_test("test_one", None):
        told = ChildMessages(str(tmp_path))
        told.tell_miss("scope", errors.CassetteMiss(f"asked {key}", difference=f"now {key}"))
        told.tell_drift("scope", {"difference": f"now {key}"})
        told.tell_refusal(errors.LiveCallRefused(f"refused {key}"), None)
        monkeypatch.setenv("MY_API_KEY", key)
        (miss,) = told.take_misses("scope")
        (refusal,) = told.take_unheard()
        assert (str(miss), miss.difference) == ("asked [redacted]", "now [redacted]")
        assert list(told.take_drift("scope")) == [{"difference": "now [redacted]"}]
        assert refusal == "refused [redacted]"


def limit_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (message_files, child_messages):
        monkeypatch.setattr(module, "MOST_ROWS", 100)


@pytest.mark.parametrize("file", ["refused", "scope", "scope.drift"])
def test_a_child_that_asks_in_a_loop_does_not_fill_the_disk(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rows(monkeypatch)
    told, miss = ChildMessages(str(tmp_path)), errors.CassetteMiss("asked")
    tell: dict[str, Callable[[], None]] = {
        "refused": lambda: told.tell_refusal(errors.LiveCallRefused("refused"), None),
        "scope": lambda: told.tell_miss("scope", miss),
        "scope.drift": lambda: told.tell_drift("scope", {"difference": "now"}),
    }

    def tell_many() -> int:
        for _ in range(100):
            tell[file]()
        return (tmp_path / file).stat().st_size

    assert tell_many() == tell_many()
    told.tell_miss("another scope", miss)
    assert [len(told.take_unheard()), len(told.take_misses("scope")), len(list(told.take_drift("scope")))] == [
        (file == each) * (2 if each == "scope" else 1) for each in tell
    ]
    assert len(told.take_misses("another scope")) == 1


def test_a_child_says_that_its_misses_are_not_counted_after_the_first_ten_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert message_files.MOST_ROWS == 10_000
    limit_rows(monkeypatch)
    told = ChildMessages(str(tmp_path))
    for number in range(102):
        told.tell_miss("scope", errors.CassetteMiss(f"asked {number}"))
    *counted, last = told.take_misses("scope")
    assert [str(counted[0]), str(counted[-1]), len(counted)] == ["asked 0", "asked 99", 100]
    assert str(last).startswith(
        "another process of this test has missed 10,000 times, and may have gone on: no further"
    )


@pytest.fixture
def in_folder(tmp_path: Path) -> ChildMessages:
    return ChildMessages(str(tmp_path))


def test_at_the_end_a_miss_is_waited_for_whose_child_has_made_the_file_and_not_yet_written(
    in_folder: ChildMessages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(seconds: float) -> None:
        in_folder.tell_miss("scope", errors.CassetteMiss("the prompt differs"))

    (tmp_path / "scope").touch()
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("a request waits for a child"))
    assert in_folder.take_misses("scope") == []
    monkeypatch.setattr(time, "sleep", write)
    assert [str(miss) for miss in in_folder.take_misses("scope", is_last=True)] == ["the prompt differs"]
    assert in_folder.take_misses("scope", is_last=True) == []


def test_equal_plays_and_faults_of_a_child_all_arrive_and_malformed_rows_are_ignored(
    in_folder: ChildMessages, tmp_path: Path
) -> None:
    job = {"id": "task-1", "began": 1.5}
    for _ in range(2):
        in_folder.tell_play("scope", [1.5, 7])
        in_folder.tell_met("plan", 0)
    in_folder.tell_job("scope", job)
    with (tmp_path / "scope.jobs").open("a") as file:
        file.write('{"id": 1, "began": 1.5}\n{"id": "task-2"}\n["task-3"]\nno JSON\n')
    with (tmp_path / "plan.faults").open("a") as file:
        file.write('0\n["mark"]\n["mark", "0"]\n')
    assert list(in_folder.take_plays("scope")) == [[1.5, 7]] * 2
    assert list(in_folder.take_met("plan")) == [0, 0]
    assert list(in_folder.take_jobs("scope")) == [job]
    assert [*in_folder.take_plays("scope"), *in_folder.take_jobs("scope")] == []


def test_a_child_reads_which_recordings_are_made_anew_until_its_parent_takes_that_back(
    in_folder: ChildMessages,
) -> None:
    assert ChildMessages().read_anew() == in_folder.read_anew() == {}
    in_folder.tell_anew({"jobs/x": ("key 1", "key 2")})
    assert in_folder.read_anew() == {"jobs/x": ["key 1", "key 2"]}
    in_folder.tell_anew({})
    assert in_folder.read_anew() == {}


@pytest.mark.parametrize("written", slow_but(['["CassetteMi'], ["", '["CassetteMi']))
def test_a_miss_that_a_child_could_not_write_is_told_once(
    in_folder: ChildMessages, tmp_path: Path, written: str
) -> None:
    (tmp_path / "scope").write_text(written)
    assert in_folder.take_misses("scope") == []
    (told,) = in_folder.take_misses("scope", is_last=True)
    assert "could not write into" in str(told)
    assert in_folder.take_misses("scope", is_last=True) == []
