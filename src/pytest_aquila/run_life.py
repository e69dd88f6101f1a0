"""The lifetime of a run, from before the first conftest is imported until the interpreter ends.

If a program has called pytest, the run ends when pytest has cleaned up. Threads that its tests have left, and functions
that they have registered for the end of the process, stay guarded.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_aquila
from aquila.config import VARIABLE_OF, SettingsLayers, find_project_folder
from aquila.intercept.activation import RunGuard
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.runtime import Run
from pytest_aquila import options

if TYPE_CHECKING:
    import argparse

    from aquila import errors, settings
    from aquila.recording.reporting import child_messages, play_log
    from aquila.recording.secrets import outgoing
    from aquila.transports import transport_names
    from pytest_aquila import calling_program, marker_options
    from pytest_aquila.summary.run_news import News
else:
    lazy_modules(
        globals(),
        "aquila: errors, settings",
        "aquila.recording.reporting: child_messages, play_log",
        "aquila.recording.secrets: outgoing",
        "aquila.transports: transport_names",
        "pytest_aquila: calling_program, marker_options",
    )


RUN: pytest.StashKey[Run] = pytest.StashKey()
"""The run of a configuration. It begins before the first conftest is imported."""

NEWS: pytest.StashKey[list[News]] = pytest.StashKey()
"""News for the summary, besides the totals; see ``run_news``. Here, because a stash key must be created only once."""


@contextlib.contextmanager
def raising_usage_errors() -> Iterator[None]:
    """Raise a ``UsageError`` for an ``AquilaError`` in the block, without secrets, which a wrong value may be.

    The message of a ``UsageError`` in the block is redacted, too.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (errors.AquilaError, pytest.UsageError)):
            raise pytest.UsageError(outgoing.redact_outgoing(str(error))) from error
        raise


@raising_usage_errors()
def begin_run(config: pytest.Config, chosen: argparse.Namespace) -> None:
    """Put the settings of a run in force, hide the machine's keys, and refuse requests that nothing in it wants.

    ``chosen`` are the options of the command line, as far as they are known. Raises ``UsageError`` for wrong settings.
    """
    run = config.stash[RUN] = Run(_layers_of(config, chosen))
    run.runs_tests = True
    with contextlib.suppress(OSError):  # there is nowhere to put temporary files, which most tests do not need
        run.messages = runtime.new_place_of_messages(tempfile.gettempdir())
    if chosen.aquila_verify is not None:
        run.play_log = play_log.PlayLog()  # before dummy keys are set, because they depend on it
    run.__enter__()
    program = None if ends_with_pytest() or not runtime.is_outermost(run) else calling_program.CallingProgram(run)
    # pytest calls clean-up functions in reverse order, so this one runs last and the others are still guarded.
    config.add_cleanup(functools.partial(_end_run, config, program))
    run.state_of(RunGuard).put_in_force()


@raising_usage_errors()
def begin_tests(config: pytest.Config, *, shows_keys: bool) -> Run:
    """Apply the command line options that plugins and conftests have changed since ``begin_run``.

    ``shows_keys``: this process only starts others, which inherit its environment and may need the machine's keys, so
    they are not hidden. Raises ``UsageError`` for settings that are wrong, and for a run that has not begun.
    """
    if RUN not in config.stash:  # the plugin was loaded after `pytest_load_initial_conftests`
        raise pytest.UsageError(
            "the plugin of Aquila comes too late: a conftest.py or a test module has loaded it, and what was imported "
            "before is not guarded. Let its entry point load it, or run pytest -p pytest_aquila.plugin"
        )
    run = config.stash[RUN]
    layers = _layers_of(config, config.option)
    if not layers.has_same_sources_as(run.layers):  # equal layers are kept, with the settings that they have cached
        run.layers = layers
    run.state_of(RunGuard).follow_settings(shows_keys=shows_keys)
    if not run.layers.sets_no_option():
        marker_options.check_rules(run.layers.resolve())
        transport_names.check_transports_of(run.layers)
    if "pyfakefs" in sys.modules:  # else the first child of a test with false files would have a false folder made
        with contextlib.suppress(OSError):
            child_messages.messages_folder(run)
    return run


def remove_wrong_variables(run: Run) -> None:
    """Remove variables with wrong settings that tests have left. What a run writes at its end needs its settings."""
    if run.layers.sets_no_option():
        return
    try:
        run.layers.resolve()
    except errors.ConfigError as error:
        for name, variable in VARIABLE_OF.items():
            try:
                settings.parse_option(name, os.environ.get(variable), source=variable)
            except errors.ConfigError:
                del os.environ[variable]
        if run.tell is not None:
            run.tell(f"{error}; a test has left it set, so it is removed")


def end_tests(run: Run) -> None:
    """Undo what belongs to the tests of a run. From now on refusals go to stderr, because no test can fail any more."""
    run.end_tests()
    run.tell = None
    if runtime.is_outermost(run):
        run.tell = _Stderr()
        for sentence in run.take_refused():  # the summary was written without these
            run.tell(sentence)


def _end_run(config: pytest.Config, program: calling_program.CallingProgram | None) -> None:
    run = config.stash[RUN]
    if not run.has_ended:
        end_tests(run)  # pytest ended before `pytest_unconfigure`
    if program is not None:
        program.go_on()
    elif not runtime.is_outermost(run):  # within another run, which goes on
        run.state_of(RunGuard).lift()
        run.__exit__(None, None, None)
    else:
        pytest_aquila.remove_finder()


class _Stderr:
    """Writes refusals that are in no summary to stderr, each once. It lives until the process ends."""

    def __init__(self) -> None:
        self._printed: set[str] = set()

    def __call__(self, sentence: str) -> None:
        if sentence not in self._printed and sys.stderr is not None:
            self._printed.add(sentence)
            print(f"aquila: {sentence}", file=sys.stderr, flush=True)


def ends_with_pytest() -> bool:
    """Whether this process was started to run pytest and nothing else."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return spec.name.partition(".")[0] in _PYTEST
    return is_pytests_own(getattr(main, "__file__", None) or "")


def is_pytests_own(program: str) -> bool:
    """Whether the file with which a process was started is that of pytest."""
    file = Path(program)
    # On Windows the command `pytest` is an archive that contains a file `__main__.py`.
    return (file.parent if file.name == "__main__.py" else file).stem in _PYTEST


_PYTEST = ("pytest", "py")


def find_root_folder(config: pytest.Config, cassette_dir: str) -> Path:
    """Return pytest's root folder if an ini file decides it, and else the folder of the project around it.

    Without an ini file pytest takes the folder in which it was started. ``find_project_folder`` finds the project by
    ``cassette_dir``, the name of the folder of cassettes.
    """
    return config.rootpath if config.inipath is not None else find_project_folder(config.rootpath, cassette_dir)


def root_of(config: pytest.Config) -> Path:
    """Return the root folder of a configured run, to which cassettes and the names of tests are relative."""
    return config.stash[RUN].layers.root


def _layers_of(config: pytest.Config, chosen: argparse.Namespace) -> SettingsLayers:
    ini = options.ini_settings(config)
    return SettingsLayers(
        find_root_folder(config, ini.get("cassette_dir", "cassettes")),
        defaults={"transport": "replay"},
        ini=ini,
        command_line=options.command_line_settings(chosen),
        under_pytest=True,
        finds_drift=chosen.aquila_drift is not None,
        settings_file=options.settings_file(config),
        started_in=str(config.invocation_params.dir),  # tests and child processes may work in another folder
        copies=functools.partial(_copies_folder, config),
    )


_copies: pytest.StashKey[Path | None] = pytest.StashKey()


def _copies_folder(config: pytest.Config) -> Path | None:
    """Return the folder for compiled copies of cassettes, in pytest's cache, or None if there is no cache."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None:  # perhaps only not yet, because a conftest loads a cassette while it is imported
        return None
    if _copies not in config.stash:  # once for each run, because `mkdir` creates the folder at each call
        try:
            config.stash[_copies] = cache.mkdir("aquila")
        except OSError:
            config.stash[_copies] = None
    return config.stash[_copies]
