"""Redaction of test reports: their tracebacks show arguments of functions, and their logs show URLs.

pytest keeps a report as objects that hold texts, in lists and attributes. They are changed in place, before a reporter
or another process sees them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.secrets import outgoing
from aquila.settings import Settings
from pytest_aquila import test_scopes

if TYPE_CHECKING:
    import warnings

    from aquila.cassettes.redaction.redactor import Redactor
    from aquila.recording.scope import Scope
    from aquila.recording.sessions import session_factory
else:
    lazy_modules(globals(), "aquila.recording.sessions: session_factory")


_OURS = tuple(os.path.dirname(file) + os.sep for file in (os.path.dirname(runtime.__file__), __file__))


def _hide_own_values(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Remove arguments and local variables from the frames of Aquila in a report.

    They contain requests as they were sent, and are of no use to the reader of the report.
    """
    tracebacks = [part[0] for part in getattr(report.longrepr, "chain", ())]
    for entry in (entry for each in tracebacks for entry in getattr(each, "reprentries", ())):
        place = getattr(entry, "reprfileloc", None)
        if place is not None and os.path.abspath(place.path).startswith(_OURS):
            entry.reprlocals = entry.reprfuncargs = None


def _redact_text(text: str, redactors: Collection[Redactor]) -> str:
    try:
        for redactor in redactors:
            text = redactor.redact_shortened_text(text)  # pytest shortens the values that it shows
    except Exception as error:  # noqa: BLE001 - a rule of the project raised; the other reports are still needed
        return f"<not shown, because a rule of aquila_redactors raised {type(error).__name__}>"
    return text


def redact_report(report: pytest.TestReport | pytest.CollectReport, redactors: Collection[Redactor]) -> None:
    """Replace the secrets that any of the redactors finds in a report, in place."""

    def redact_value(value: Any) -> Any:
        if isinstance(value, str):
            return _redact_text(value, redactors)
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return _redact_lines(value, redactors)
        if isinstance(value, (list, tuple)):
            clean = [redact_value(each) for each in value]
            if clean == list(value):
                return value  # also one of a class that is not made from its items, such as a named tuple
            return clean if isinstance(value, list) else tuple(clean)
        # Reports are trees of pytest's private classes, which differ between versions, so all their attributes are
        # visited.
        if hasattr(type(value), "toterminal"):
            for name, held in vars(value).items():
                object.__setattr__(value, name, redact_value(held))  # some of them are frozen
        return value

    _hide_own_values(report)
    if not redactors:
        return
    report.longrepr = redact_value(report.longrepr)
    report.sections = redact_value(report.sections)
    for name in ("user_properties", "wasxfail"):  # what a test says of itself, and why it is expected to fail
        if held := getattr(report, name, None):
            setattr(report, name, redact_value(held))
    context: Any = getattr(report, "context", None)
    if hasattr(context, "msg") and hasattr(context, "kwargs"):  # of a subtest, and not what a conftest has added
        object.__setattr__(context, "msg", redact_value(context.msg))
        shown = {name: _redact_parameter(held, redactors) for name, held in context.kwargs.items()}
        object.__setattr__(context, "kwargs", shown)


def _redact_lines(lines: list[str], redactors: Collection[Redactor]) -> list[str]:
    """Redact the lines of a traceback: a private key may be in several. With ``--tb=native`` they have line breaks."""
    between = "" if lines and lines[0].endswith("\n") else "\n"
    text = between.join(lines)
    clean = _redact_text(text, redactors)
    if clean == text:
        return lines
    return clean.split("\n") if between else [clean]


def _redact_parameter(value: object, redactors: Collection[Redactor]) -> object:
    """Redact a parameter of a subtest. In some versions of pytest it is any object, which is shown by its ``repr``."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - the class of the object is that of the test
        return f"<not shown, because its repr raised {type(error).__name__}>"
    clean = _redact_text(text, redactors)
    return value if clean == text else clean


class CleanWarnings:
    """Redacts the warnings of a run, such as exceptions of threads and messages of libraries about URLs."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Redact a warning before a reporter or another process sees it."""
        item = test_scopes.running_item(self._config)
        used = redactors_of(item) if item is not None else ()
        text = str(warning_message.message)
        clean = _redact_text(text, used or [outgoing.run_redactor()])
        if clean != text:
            warning_message.message = Warning(clean)  # the category is a separate attribute and stays


class CleanSubtests:
    """Redacts the names of subtests, and their output, which pytest adds after it has made their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Redact the report of a subtest before a reporter or another process sees it."""
        if hasattr(report, "context") and (item := test_scopes.running_item(self._config)) is not None:
            redact_report(report, redactors_of(item))


def begin_redacting(config: pytest.Config, kind: type[CleanWarnings] | type[CleanSubtests]) -> None:
    """Redact the warnings or the subtests of a run from now on."""
    if not config.pluginmanager.has_plugin(kind.__name__):
        config.pluginmanager.register(kind(config), kind.__name__)


def redactors_of(item: pytest.Item) -> Collection[Redactor]:
    """Return the redactors of all that a test has used; none if nothing in it needed a scope."""
    redactors = item.stash.setdefault(test_scopes.REDACTORS, {})
    shared = item.config.stash.setdefault(test_scopes.REDACTORS, {})
    redactors.update(shared)
    scope = test_scopes.opened_scope(item)
    if scope is not None:
        redactors.update(dict.fromkeys(_redactors_of_scope(scope)))
    return redactors


def remember_redactors(item: pytest.Item, scope: Scope) -> None:
    """Keep the redactors of a passing test whose scope ends, for the report of its teardown.

    If its sessions have redactors, no other is made, because that takes long and most tests write nothing.
    """
    used = dict.fromkeys([session.redactor for session in scope.sessions.opened()])
    redactors = used or dict.fromkeys(_redactors_of_scope(scope))
    if test_scopes.REDACTORS in item.stash:
        redactors = item.stash[test_scopes.REDACTORS] | redactors
    item.stash[test_scopes.REDACTORS] = redactors


def redact_reports_for(config: pytest.Config, scope: Scope) -> None:
    """Redact the secrets of a scope in the report of every test that fails from now on."""
    config.stash.setdefault(test_scopes.REDACTORS, {}).update(dict.fromkeys(_redactors_of_scope(scope)))


def _redactors_of_scope(scope: Scope) -> Iterator[Redactor]:
    try:
        settings = scope.settings
    except ConfigError:  # the test has left a wrong one; the secrets of the machine are the same under any
        settings = Settings()
    yield from (session.redactor for session in scope.sessions.opened())
    # Blocks within the scope have their own sessions. This redactor knows the same secrets of the machine as theirs.
    yield session_factory.redactor_of(settings)
