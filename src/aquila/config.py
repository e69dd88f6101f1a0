"""The table of the options that tests, blocks and calls may set, and ``SettingsLayers``, the sources of their values.

Each option is declared once, in ``OPTION_ROWS``; its environment variable, ini key and parser derive from that row. A
value comes from the first of: argument or marker, command line, environment, ini file, default. ``SettingsLayers``
holds these sources; ``aquila.recording.runtime`` says which run is current. The options of a scope are an
``OptionLayer`` above them.

Most runs set no option. They load this module and no other one about settings, and use the values of the table. A value
that is set is parsed by ``aquila.option_parsing``, and stands in a record of ``aquila.settings``.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import errors, settings, shell_words
    from aquila.setting_types import StartSettings
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila: errors, settings, shell_words")

# fmt: off
OPTION_ROWS: tuple[tuple[str, Any, str | None, bool, str, str], ...] = (
    ("transport", "live", "AQUILA_TRANSPORT", True, "text", "live, replay, record, local, script or module:factory"),
    ("upstream", "live", "AQUILA_UPSTREAM", True, "text", "what `record` records from"),
    ("record", "missing", "AQUILA_RECORD", False, "missing|all|pending",
     "what `record` does with recordings that match: keep (missing), record again (all), or beside them (pending)"),
    ("cassette_dir", "cassettes", "AQUILA_CASSETTE_DIR", True, "text",
     "folder of the cassettes, relative to the project"),
    ("base_url", None, "OPENAI_BASE_URL", False, "text", "base URL of the provider"),
    ("api_key", None, "OPENAI_API_KEY", False, "secret", "API key of the provider"),
    ("model", "gpt-4.1-mini", "AQUILA_MODEL", True, "text", "model of calls that name none"),
    ("timeout", 30.0, "AQUILA_TIMEOUT", True, "seconds", "idle timeout of a call, in seconds"),
    ("replay_timing", 0.0, "AQUILA_REPLAY_TIMING", True, "pace",
     "pace of a replay: instant, recorded, or a factor of the recorded times"),
    ("silence", 5.0, None, True, "seconds",
     "seconds for which a replay stays silent beyond the recorded wait, where the program stopped waiting"),
    ("match_on", ("method", "origin", "path", "query", "body"), None, True, "words",
     "parts of a request that identify it"),
    ("ignore", (), None, True, "lines",
     "JSON paths of the body that do not identify a request; <empty> for every field that is null or {}"),
    ("ignore_query", (), None, True, "words", "query parameters that do not identify a request, such as X-Amz-*"),
    ("normalize", (), None, True, "patterns",
     "values that placeholders stand for when requests are compared: uuid, date, tmp_path, ..., or /pattern/"),
    ("keep_headers", (), None, True, "words", "header fields that cassettes keep besides the usual ones"),
    ("repeat", "error", None, True, "error|last|first",
     "what follows the last recording of a request: error, it again (last), or the first answers all (first)"),
    ("record_errors", "last", None, True, "last|all",
     "answers of 408, 409, 429 and 5xx to keep: last (only if nothing followed) or all"),
    ("record_budget", None, "AQUILA_RECORD_BUDGET", True, "budget",
     "how much a run may record: requests, tokens, or both, such as 200 requests, 50k tokens"),
    ("durable", "off", None, True, "off|fsync",
     "whether each recorded answer survives a loss of power before the program goes on: off or fsync"),
    ("unplayed", "ignore", None, True, "ignore|warn|fail",
     "recordings of a test's own cassette that it did not play: ignore, warn or fail"),
    ("unused", "fail", None, True, "fail|warn|ignore", "scripted answers that nobody asked for: fail, warn or ignore"),
    ("faults", None, None, False, "faults",
     "faults that answers meet: cut_stream(after=3), or several, joined by commas"),
    ("max_age", None, None, True, "age",
     "age from which on a recording is old, such as 90d: `record` makes it anew, and a replay reports it"),
    ("outdated", "warn", None, True, "warn|fail", "recordings that a test plays and that are old: warn or fail"),
    ("prices", None, "AQUILA_PRICES", True, "text", "the TOML table of what models cost, for reports and budgets"),
    ("guard", "providers", "AQUILA_GUARD", True, "providers|all|off|sealed",
     "what is refused without a cassette under pytest: providers, all, off, or all by the kernel (sealed)"),
    ("sealed_ports", (), None, True, "ports", "ports of this machine that a sealed run may reach, such as 5432"),
    ("ignore_hosts", (), None, True, "hosts",
     "hosts that are never recorded nor refused, such as *.internal or localhost:8080"),
    ("ignore_hueys", (), None, True, "words",
     "Hueys, by name, into whose real queues tests may put jobs, such as mail or *"),
    ("loopback", "models", None, True, "models|all|none",
     "requests to this machine that go through the cassette: those of model endpoints (models), all, or none"),
    ("providers", (), None, True, "hosts", "further hosts that count as model providers"),
    ("side_requests", (), None, True, "requests",
     "requests that no test asks for, a line each (POST api.example.com/v1/x), which fail as without a network; - "
     "before a row of the built-in table takes it away"),
    ("dummy_keys", (), None, True, "variables",
     "further environment variables that hold a dummy while nothing needs a key; NAME=value gives one of its own, "
     "-NAME leaves one out, -unset all that are not set"),
    ("log_content", "off", "AQUILA_LOG_CONTENT", True, "off|on",
     "whether the logger `aquila` shows prompts and answers, at level DEBUG: off or on"),
    ("script", None, "AQUILA_SCRIPT", False, "text", "the script that the transport script answers from"),
    ("local_model", None, "AQUILA_LOCAL_MODEL", False, "text", "GGUF file of the embedded model"),
)
# fmt: on
"""Every setting: its name, its default, its environment variable or None, whether the ini file can set it, the kind of
its values, and its explanation in one line. ``aquila.option_parsing`` reads text by its kind; choices are joined by
``|``. Keys of the ini file that only the plugin reads are in ``pytest_aquila.options``.

The rows are constants, because every test run loads them: making objects would take longer than the rest of this
module.
"""

DEFAULTS = {row[0]: row[1] for row in OPTION_ROWS}
"""The value of each option that nobody sets."""

VARIABLE_OF = {row[0]: row[2] for row in OPTION_ROWS if row[2]}
"""The environment variable of each option that has one, by the option's name."""
_VARIABLES = tuple(VARIABLE_OF.values())
# Encoded once: `_option_variables` looks these up for each request.
_STORED_VARIABLES = tuple(map(os.fsencode, _VARIABLES))
_ARE_OUR_OWN = [variable.startswith("AQUILA_") for variable in _VARIABLES]


def _option_variables() -> tuple[Any, ...]:
    """Return the current values of ``_VARIABLES``, in a form that can only be compared."""
    # `_data` is private to `os.environ`; see `aquila.recording.environment`.
    inner = getattr(os.environ, "_data", None)
    if type(inner) is dict and sys.platform != "win32":  # the fast path: this runs for every request and every task
        return tuple(map(inner.get, _STORED_VARIABLES))
    return tuple(map(os.environ.get, _VARIABLES))


def find_cassette_root(root: Path, cassette_dir: str) -> Path:
    """Return the absolute folder of the cassettes. Raises ``ConfigError`` if the working directory was deleted.

    ``root`` is the folder to which ``cassette_dir`` is relative, unless that is absolute.
    """
    try:
        current = "" if root.is_absolute() or os.path.isabs(cassette_dir) else os.getcwd()
    except FileNotFoundError as error:
        raise errors.ConfigError(
            f"the folder of the cassettes, {cassette_dir!r}, is relative, and the working directory was "
            "deleted. Run in a folder that exists, or give an absolute one in AQUILA_CASSETTE_DIR"
        ) from error
    return _absolute_folder(Path, root, cassette_dir, current)


# The working folder is part of the key, because programs and tests change it, and the class, because pyfakefs does.
@functools.lru_cache(maxsize=64)
def _absolute_folder(kind: type[Path], root: Path, name: str, current: str) -> Path:
    return kind(current, root, name)


_MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
"""Names of which at least one is found in the folder of a project."""


def find_project_folder(started: Path, cassette_dir: str) -> Path:
    """Return the folder of the project around the folder ``started``, for use where no ini file names it.

    It is the nearest folder, from ``started`` upward, that has a folder of cassettes named ``cassette_dir``. If there
    is none, it is the nearest that has a mark of a project, and else ``started``.
    """
    folders = (started, *started.parents)
    for folder in folders:
        if os.path.isdir(os.path.join(folder, cassette_dir)):
            return folder
    return next(
        (folder for folder in folders if any(os.path.exists(os.path.join(folder, mark)) for mark in _MARKS)), started
    )


class OptionLayer:
    """Options that lie over other settings, as those of a scope do. ``source`` names them in messages."""

    __slots__ = ("_resolved", "_source", "options")

    def __init__(self, options: Mapping[str, Any], *, source: str) -> None:
        self.options: Mapping[str, Any] = dict(options)
        """Replaced as a whole and never changed in place: another thread may be reading it."""
        self._source = source
        # The settings and options that `resolve` used last, and what it returned.
        self._resolved: tuple[Settings, Mapping[str, Any], Settings] | None = None

    def resolve(self, below: Settings) -> Settings:
        """Return the settings ``below`` with these options on top."""
        known, options = self._resolved, self.options
        if known is None or known[0] is not below or known[1] is not options:
            known = self._resolved = below, options, below.with_options(options, source=self._source)
        return known[2]

    def override(self, options: Mapping[str, Any]) -> None:
        """Replace some options, or add them."""
        self.options = {**self.options, **options}

    def remove(self, name: str) -> None:
        """Give no value to an option any more."""
        self.options = {key: value for key, value in self.options.items() if key != name}


class SettingsLayers:
    """The sources of options of one run: defaults and ini file below the environment, the command line above it."""

    __slots__ = (
        "_copies",
        "_latest",
        "_resolved",
        "_sources_are_empty",
        "command_line",
        "defaults",
        "finds_drift",
        "ini",
        "root",
        "settings_file",
        "started_in",
        "under_pytest",
    )

    def __init__(
        self,
        root: Path,
        *,
        defaults: Mapping[str, Any] | None = None,
        ini: Mapping[str, str] | None = None,
        command_line: Mapping[str, Any] | None = None,
        under_pytest: bool = False,
        finds_drift: bool = False,
        settings_file: str = "",
        started_in: str = "",
        copies: Callable[[], Path | None] | None = None,
    ) -> None:
        """``root`` is the folder to which relative folders are relative. The mappings go from option names to values.

        ``under_pytest`` says that the plugin runs this process: then no request goes to a provider unless the user
        asks for it. ``finds_drift`` says that a replay answers every request and notes those without a recording.
        ``settings_file`` is the name of the file that has pytest's settings, for advice; empty if it is not known.
        ``started_in`` is the folder in which the user types commands; if empty, the working directory of the process.
        ``copies`` returns the folder in which loading a cassette may leave a compiled copy, or None for no copies.
        """
        self.root = root
        self.defaults = defaults or {}
        self.ini = ini or {}
        self.command_line = command_line or {}
        self.under_pytest = under_pytest
        self.finds_drift = finds_drift
        self.settings_file = settings_file
        self.started_in = started_in
        self._copies = copies
        # A run may decide its transport itself. That is no reason to parse anything: the text is the value.
        self._sources_are_empty = not self.ini and not self.command_line and self.defaults.keys() <= {"transport"}
        # A cache, keyed by values of environment variables, cleared when it is full: tests set variables and put them
        # back, so few keys return often. No lock: threads that compute the same key store equal values.
        self._resolved: dict[tuple[Any, ...], Settings] = {}
        # What `resolve` returned last: the variables that were not set, those that were and their values, the settings.
        self._latest: tuple[set[bytes], tuple[tuple[bytes, bytes], ...], Settings] | None = None

    def resolve(self) -> Settings:
        """Return the settings in force now, parsed only if the environment has changed. Raises ``ConfigError``."""
        # This runs for every request and every task, and the environment is mostly that of the last time. Then a few
        # variables are compared, and those that are not set are looked for in one step.
        latest, inner = self._latest, getattr(os.environ, "_data", None)
        if latest is not None and type(inner) is dict:
            unset, given, known = latest
            if inner.keys().isdisjoint(unset):
                for name, value in given:
                    if inner.get(name) != value:
                        break
                else:
                    return known
        variables = _option_variables()
        found = self._resolved.get(variables)
        if found is None:
            found = settings.resolve_layers(self)
            if len(self._resolved) >= _MOST_RESOLVED:
                self._resolved.clear()
            self._resolved[variables] = found
        if type(inner) is dict and sys.platform != "win32":
            values = dict(zip(_STORED_VARIABLES, variables, strict=True))
            given = tuple([(name, value) for name, value in values.items() if value is not None])
            self._latest = values.keys() - dict(given).keys(), given, found
        return found

    def sets_no_option(self) -> bool:
        """Whether neither the ini file, the command line nor a variable of Aquila's own sets an option now.

        Variables of the openai client do not count: no value of theirs is wrong, and none changes what a run does.
        """
        return self._sources_are_empty and not any(itertools.compress(_option_variables(), _ARE_OUR_OWN))

    def at_start(self) -> StartSettings:
        """Return the settings that each run needs when it starts. Raises ``ConfigError``.

        If no option is set, nothing is parsed.
        """
        if not self.sets_no_option():
            return self.resolve()
        usual: Any = SimpleNamespace(**{**DEFAULTS, **self.defaults}, root=self.root)
        return usual  # type: ignore[no-any-return]

    def gives(self, name: str) -> bool:
        """Whether the command line, the environment or the ini file sets an option, even to its default."""
        variable = VARIABLE_OF.get(name)
        if name in self.command_line or name in self.ini or (variable and os.environ.get(variable)):
            return True
        return name == "transport" and records_by_environment()

    def shown_path(self, path: Path) -> Path:
        """Return a path as it is shown: relative to the folder in which the user types commands, if it is in there."""
        with suppress(ValueError, OSError):  # the working directory may have been deleted
            return path.relative_to(self._folder_of_user())
        return path

    def shown_text(self, text: str) -> str:
        """Return a text with the paths in it as ``shown_path`` shows them."""
        return shell_words.shorten_paths(text, self.started_in)

    def path_to_type(self, path: Path) -> str:
        """Return a path as a user types it: from the folder in which the user types commands, even if it is elsewhere.

        Separated by ``/``.
        """
        with suppress(OSError):
            return shell_words.path_from(self._folder_of_user(), path)
        return path.as_posix()

    def _folder_of_user(self) -> str:
        return self.started_in or os.getcwd()

    def copies_folder(self) -> Path | None:
        """Return the folder for compiled copies of cassettes, or None if no copies are to be kept."""
        return self._copies() if self._copies is not None else None

    def has_same_sources_as(self, other: SettingsLayers) -> bool:
        """Whether other layers have the same sources of options and the same root folder."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__ if name[0] != "_")

    def as_plain_data(self) -> dict[str, Any]:
        """Return what a child process needs to build the same layers with ``from_plain_data``."""
        plain = {name: kind(getattr(self, name)) for name, kind in _PLAIN_KINDS.items()}
        return {"root": str(self.root.absolute()), **plain}

    @classmethod
    def from_plain_data(cls, data: Mapping[str, Any]) -> SettingsLayers:
        """Build the layers that ``as_plain_data`` described. Raises ``TypeError`` or ``KeyError`` for other data."""
        if not all(isinstance(data[name], kind) for name, kind in {"root": str, **_PLAIN_KINDS}.items()):
            raise TypeError("not the layers of settings")
        return cls(**{**data, "root": Path(data["root"])})


_PLAIN_KINDS: dict[str, type] = {
    **dict.fromkeys(("defaults", "ini", "command_line"), dict),
    **dict.fromkeys(("under_pytest", "finds_drift"), bool),
    **dict.fromkeys(("settings_file", "started_in"), str),
}
"""The attributes of ``SettingsLayers`` that a child process gets beside ``root``, with their types as plain data."""

# How many entries the cache of `SettingsLayers` holds at most.
_MOST_RESOLVED = 16


def records_by_environment() -> bool:
    """Whether ``AQUILA_RECORD`` asks for a recording, as ``--aquila-record`` does. ``AQUILA_TRANSPORT`` overrides."""
    return bool(os.environ.get("AQUILA_RECORD")) and not os.environ.get("AQUILA_TRANSPORT")
