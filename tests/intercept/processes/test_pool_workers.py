"""A pool of ``multiprocessing`` reports a miss in a worker, even where the client's error cannot be unpickled."""

from __future__ import annotations

import importlib
import pickle
import sys
from multiprocessing import pool
from pathlib import Path

import pytest

import aquila
from aquila.errors import CassetteMiss


class ConnectionNotMade(Exception):
    """As the errors of openai 2 and anthropic: pickle would call it with its message alone."""

    def __init__(self, *, request: object) -> None:
        super().__init__("Connection error.")


class Refused(Exception):
    """An error that can be unpickled."""


def received(error: Exception) -> Exception:
    """Return what the caller of a pool gets for an error that a worker raised."""
    told = pool.ExceptionWithTraceback(error, error.__traceback__)  # type: ignore[attr-defined]
    result = pickle.loads(pickle.dumps(told))
    assert isinstance(result, Exception)
    return result


def raised(error: Exception, *, handles: Exception, names_cause: bool) -> Exception:
    """Return ``error`` as it is after it was raised while ``handles`` was handled."""
    try:
        try:
            raise handles
        except Exception as cause:
            if names_cause:
                raise error from cause
            raise error  # noqa: B904 - the cause is the context alone
    except type(error) as caught:
        return caught


COPY = """
class ExceptionWithTraceback:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return str, (self.error, "")
"""


def test_the_copy_of_the_library_that_pathos_and_datasets_use_does_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "multiprocess").mkdir()
    (tmp_path / "multiprocess" / "pool.py").write_text(COPY)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("multiprocess", "multiprocess.pool"):
        monkeypatch.setitem(sys.modules, name, pool)  # so that what is imported does not stay
        del sys.modules[name]
    error = raised(ConnectionNotMade(request=1), handles=CassetteMiss("no recording"), names_cause=True)
    with aquila.use_cassette("x", unused="ignore"):
        _, (sent, _) = importlib.import_module("multiprocess.pool").ExceptionWithTraceback(error).__reduce__()
    assert isinstance(sent, CassetteMiss)


@pytest.mark.parametrize("names_cause", [True, False])
@pytest.mark.parametrize("in_group", [False, True])
def test_a_miss_takes_the_place_of_a_client_error_that_cannot_be_unpickled(names_cause: bool, in_group: bool) -> None:
    """The thread of a pool that receives results would end at such an error, and the caller wait for ever."""
    middle = raised(OSError("while sending"), handles=CassetteMiss("no recording"), names_cause=True)
    error = raised(ConnectionNotMade(request=1), handles=middle, names_cause=names_cause)
    with aquila.use_cassette("x", unused="ignore"):
        result = received(ExceptionGroup("tasks", [error]) if in_group else error)
    assert isinstance(result, CassetteMiss)
    assert str(result) == "no recording"
    assert "ConnectionNotMade" in str(result.__cause__)  # the whole traceback of the worker, as from every pool


def test_other_errors_stay_as_they_are() -> None:
    with aquila.use_cassette("x", unused="ignore"):
        after_miss = received(raised(Refused("no"), handles=CassetteMiss("no recording"), names_cause=True))
        assert isinstance(after_miss, Refused)
        in_circle = ConnectionNotMade(request=1)
        in_circle.__cause__ = OSError("while sending")
        in_circle.__cause__.__cause__ = in_circle
        with pytest.raises(TypeError):
            received(in_circle)
