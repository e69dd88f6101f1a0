"""Unanswered and refused requests as the failure of the test that made them.

The error of the test becomes the miss or the refusal, even if a client has turned it into another error. The traceback
shows only frames of the project, and its last line is one sentence. ``--full-trace`` leaves everything unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from traceback import format_exception_only
from types import TracebackType
from typing import Any

import pytest

from aquila.errors import (
    CassetteError,
    CassetteMiss,
    CassetteNameError,
    ConfigError,
    MissingDependency,
    MissingKey,
    UnansweredRequest,
)
from aquila.plurals import number_of
from aquila.recording import miss_outcomes
from aquila.recording.installed_code import is_standard_library, package_of
from pytest_aquila import test_scopes
from pytest_aquila.outcomes import make_outcome, text_of


def unanswered_in(item: pytest.Item) -> Sequence[UnansweredRequest]:
    """Return the misses, those of the fixtures that it shares, and the refusals of the running test so far."""
    scope, running = test_scopes.opened_scope(item), item.config.stash[test_scopes.RUN].test
    found: list[UnansweredRequest] = list(scope.misses.hear()) if scope is not None else []
    if test_scopes.SHARED_MISSES in item.stash:
        shared: list[CassetteMiss] = item.stash[test_scopes.SHARED_MISSES]
        found += shared
    return found + list(running.refusals) if running is not None else found


def fail_for_swallowed(error: UnansweredRequest, item: pytest.Item) -> None:
    """Fail the test with an error that its code has swallowed. The report shows only the text of the error."""
    # An earlier phase has it if the test skips: no report has shown its sections.
    item._report_sections[:] = [each for each in item._report_sections if each[1:] != ("aquila", str(error))]
    raise make_outcome(error, with_traceback=False)


def add_section(item: pytest.Item, when: str, error: BaseException | None, known: Collection[str] = ()) -> None:
    """Add to the report of a test that fails the unanswered requests that its ``error`` does not name.

    ``known`` are the texts of those that an earlier report of the test has shown. Of the requests that miss by the same
    change, such as one edit of a prompt that a hundred tasks send, the first is shown, and the others are counted.
    """
    behind = None if error is None else _find_unanswered(item, error)
    shown = "" if error is None else text_of(behind or error)
    changes = {None if behind is None else behind.group}
    texts: list[str] = []
    more = 0
    for text, change in texts_in(item, error).items():
        if text in shown or text in known:
            pass
        elif change is not None and change in changes:
            more += 1
        else:
            texts.append(text)
        changes.add(change)
    if more:
        requests = number_of(more, "more request of this test misses", "more requests of this test miss")
        texts.append(f"{requests} by a change that is shown above.")
    for text in texts:
        section = when, "aquila", text
        if section not in item._report_sections:  # it is there if a plugin repeats the test
            item.add_report_section(*section)


def texts_in(item: pytest.Item, error: BaseException | None = None) -> Mapping[str, str | None]:
    """Return the texts of what is unanswered in the running test so far, and in the fixture that raised ``error``.

    The value of each is the change by which the request misses (see ``UnansweredRequest.group``).
    """
    return {str(each): each.group for each in (*misses_behind(item, error), *unanswered_in(item))}


def misses_behind(item: pytest.Item, error: BaseException | None) -> Sequence[UnansweredRequest]:
    """Return the misses of the fixture that failed with ``error``, which each test that uses the fixture gets."""
    stash = item.config.stash
    failures = stash[test_scopes.FAILED_FIXTURES].values() if test_scopes.FAILED_FIXTURES in stash else ()
    return next((misses for failure, misses in failures if failure is error), ())


def simplify_failure(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Replace the error of a test by the unanswered request behind it, with only the frames of the project."""
    # pytest keeps the errors of a `unittest.TestCase` in `_excinfo`, and puts them in place of the call's error later.
    aside: Any = getattr(item, "_excinfo", None)
    for position, kept in enumerate(aside if isinstance(aside, list) else ()):
        aside[position] = _simplified(item, kept)
    if call.excinfo is not None:
        call.excinfo = _simplified(item, call.excinfo)


def fail_though_expected(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Fail a test that xfails with an unanswered request, which is not the failure that the test expects."""
    if call.excinfo is None:
        return
    error = call.excinfo.value
    behind = [*misses_behind(item, error), *unanswered_in(item)]
    if _find_unanswered(item, error) is None:
        if not behind:
            return
        if text_of(error) != str(behind[0]):  # it may be the failure that the test expects: the request is what failed
            outcome = make_outcome(behind[0], with_traceback=False).with_traceback(error.__traceback__)
            call.excinfo = pytest.ExceptionInfo.from_exception(outcome)
            report.longrepr = item._repr_failure_py(call.excinfo)
            report.sections = [each for each in report.sections if each[1] != str(outcome)]
            shorten_crash_line(report, call)
    report.outcome = "failed"
    del report.wasxfail


def shorten_crash_line(report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Replace the summary line of the failure by the sentence of its error, because pytest does not cut it in CI."""
    error = call.excinfo.value if call.excinfo is not None else None
    crash = getattr(report.longrepr, "reprcrash", None)
    if isinstance(error, UnansweredRequest) and crash is not None:
        crash.message = f"{type(error).__name__}: {error.sentence}"


def _simplified(item: pytest.Item, info: pytest.ExceptionInfo[BaseException]) -> pytest.ExceptionInfo[BaseException]:
    error = info.value
    behind = _find_unanswered(item, error)
    if behind is None and not isinstance(error, (CassetteError, ConfigError, MissingKey, MissingDependency)):
        return info
    shown: BaseException = error if behind is None else behind
    if behind is None:
        shown.__suppress_context__ = True
    rows = _project_rows(error, shown)  # also those of the errors that caused it, such as in a function of the project
    if behind is None:
        shown.__cause__ = None  # its text is in that of `shown`; the test is over, so no code reads it
    is_mistake = not rows and isinstance(shown, (ConfigError, CassetteNameError))
    if is_mistake and all(map(_is_of_runner, _rows_of(error.__traceback__))):  # no frame shows the marker
        return pytest.ExceptionInfo.from_exception(
            pytest.fail.Exception(f"{type(shown).__name__}: {shown}", pytrace=False).with_traceback(error.__traceback__)
        )
    rows = rows or list(_rows_of(error.__traceback__))
    if isinstance(shown, UnansweredRequest):
        pytrace = getattr(error, "pytrace", True)
        shown = make_outcome(shown, with_traceback=pytrace)  # a new object: the code under test may hold the old one
        groups = [each for each in (error, *_causes_of(error)) if isinstance(each, BaseExceptionGroup)]
        beside = next((_others_in(each) for each in groups if _unanswered_within(each) is behind), ())
        for text in dict.fromkeys("".join(format_exception_only(each)) for each in beside):
            shown.add_note(f"Beside it: {text.rstrip()}")
    traceback: TracebackType | None = None
    for row in reversed(rows):
        traceback = TracebackType(traceback, row.tb_frame, row.tb_lasti, row.tb_lineno)
    if traceback is None:
        return info
    return pytest.ExceptionInfo.from_exception(shown.with_traceback(traceback))


def _find_unanswered(item: pytest.Item, error: BaseException) -> UnansweredRequest | None:
    """Return the unanswered request that caused a failure, or None.

    It is the failure itself, or one of the errors of a group, or the cause of a client's error. A failed assertion has
    another cause.
    """
    found = _unanswered_within(error)
    if found is not None:
        return found
    remembered = texts_in(item, error)
    if not remembered or isinstance(error, (AssertionError, pytest.fail.Exception, pytest.skip.Exception)):
        return None
    for cause in _causes_of(error):
        found = _unanswered_within(cause)
        if found is not None and str(found) in remembered:
            return found
    return _taken_for_answer(item, error)


def _unanswered_within(error: BaseException) -> UnansweredRequest | None:
    """Return the first unanswered request of a group, or the error if it is one.

    The other errors of a group count as its consequences, as "No response returned." of a middleware of Starlette.
    """
    if any(isinstance(each, AssertionError) or not isinstance(each, Exception) for each in _others_in(error)):
        return None
    return next((each for each in _leaves_of(error) if isinstance(each, UnansweredRequest)), None)


def _others_in(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group that are no unanswered requests, or the error if it is none and no group."""
    return (each for each in _leaves_of(error) if not isinstance(each, UnansweredRequest))


def _leaves_of(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves_of(each)
    else:
        yield error


def _taken_for_answer(item: pytest.Item, error: BaseException) -> UnansweredRequest | None:
    """Return the unanswered request that was used as an answer, such as one that ``asyncio.gather`` returned."""
    if isinstance(error, AttributeError):
        return error.obj if isinstance(error.obj, UnansweredRequest) else None
    if isinstance(error, TypeError):  # unlike `AttributeError` it names the object's class only in its text
        return next((each for each in unanswered_in(item) if f"'{type(each).__name__}'" in text_of(error)), None)
    return None


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is not None:
            yield cause


def _rows_of(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _project_rows(error: BaseException, shown: BaseException) -> list[TracebackType]:
    """Return the traceback rows in the project, of an error and of the errors down to the one that is shown instead."""
    rows: list[TracebackType] = []
    frames: set[int] = set()
    for each in (error, *_path_to(error, shown)):
        for row in _rows_of(each.__traceback__):
            if id(row.tb_frame) not in frames and _is_of_project(row.tb_frame.f_code.co_filename):
                frames.add(id(row.tb_frame))
                rows.append(row)
    return rows


def _path_to(error: BaseException, shown: BaseException) -> Iterator[BaseException]:
    """Yield the errors from ``error`` to ``shown``, which is included."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if _unanswered_within(each) is shown:
                yield each
                yield from _path_to(each, shown)
                return
    for cause in _causes_of(error):
        yield cause
        if cause is shown:
            return


_OURS = tuple(os.path.dirname(file) + os.sep for file in (os.path.dirname(miss_outcomes.__file__), __file__))
"""The folders of Aquila's two packages. ``_RUNNERS`` names them where they are installed."""

_RUNNERS = frozenset(("_pytest", "aquila", "pluggy", "pytest", "pytest_aquila"))


def _is_of_runner(row: TracebackType) -> bool:
    """Whether a frame belongs to pytest or Aquila. Tests that are installed with their package belong to neither."""
    file = row.tb_frame.f_code.co_filename
    package = package_of(file)
    return package in _RUNNERS if package is not None else file.startswith(_OURS) or is_standard_library(file)


def _is_of_project(file: str) -> bool:
    """Whether a file belongs to the project, and not to Python, an installed library or Aquila."""
    if file.startswith("<"):
        return file.startswith("<doctest")
    return not (file.startswith(_OURS) or is_standard_library(file) or package_of(file) is not None)
