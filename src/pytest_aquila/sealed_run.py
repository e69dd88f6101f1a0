"""A sealed run (``aquila_guard = sealed``): pytest executes itself again in its own network namespace.

This module is loaded only by a run that is to be sealed.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording.scope_settings import NEEDS_NETWORK
from aquila.settings import INI_FILE, Settings, parse_option
from pytest_aquila.options import read_key, settings_file
from pytest_aquila.run_life import raising_usage_errors

if TYPE_CHECKING:
    from aquila.intercept import policy
    from aquila.intercept.sealing import entering, namespace
else:
    lazy_modules(globals(), "aquila.intercept: policy", "aquila.intercept.sealing: entering, namespace")

_OTHERWISE = "AQUILA_GUARD=all refuses in Python alone"


def enter_sealed_run(config: pytest.Config) -> None:
    """Execute this run again in a sealed process, unless this process is sealed already.

    It is called when the plugin is loaded. Raises ``UsageError`` if the run cannot be sealed.
    """
    if sys.platform != "linux":
        raise pytest.UsageError(
            f"aquila_guard = sealed needs Linux, and this is {sys.platform}: only there a process can be without a "
            f"network. {_OTHERWISE}"
        )
    if namespace.is_sealed():
        return
    _check_is_command(config)
    source = settings_file(config) or INI_FILE
    with raising_usage_errors():
        ports = parse_option(
            "sealed_ports", read_key(config, "aquila_sealed_ports") or None, source=source, prefix="aquila_"
        )
    os.chdir(config.invocation_params.dir)
    # The interpreter by its full path, because its name alone could find another one.
    entering.become_sealed([sys.executable, *sys.orig_argv[1:]], ports)


def check_sealed_run(settings: Settings, *, verifies: bool) -> None:
    """Raise ``UsageError`` if a run is not sealed, or needs what a sealed run cannot do.

    ``verifies``: the run sends requests to the upstream again.
    """
    if verifies:
        raise pytest.UsageError(
            "aquila_guard = sealed lets nothing out, and --aquila-verify asks the upstream. For this run set "
            "AQUILA_GUARD=all"
        )
    if settings.transport in NEEDS_NETWORK:
        raise pytest.UsageError(
            f"aquila_guard = sealed lets nothing out, and the transport {settings.transport} needs the network. "
            "For this run set AQUILA_GUARD=all"
        )
    if sys.platform != "linux" or not namespace.is_sealed():
        raise pytest.UsageError(
            "aquila_guard = sealed came too late for this run to be sealed: pytest has read its ini file after the "
            f"plugin of Aquila was loaded, or a plugin has changed a setting since. {_OTHERWISE}"
        )


class SealedHeader:
    """Says at the top of a run that it is sealed."""

    def pytest_report_header(self) -> str:
        return "aquila: sealed: this run is in a network namespace that has only its loopback"


def _check_is_command(config: pytest.Config) -> None:
    """Raise ``UsageError`` unless pytest can be started again from its command line and has done nothing so far."""
    if any(_is_conftest(plugin) for plugin in config.pluginmanager.get_plugins()):
        raise pytest.UsageError(
            "aquila_guard = sealed must be in force before any conftest.py is imported, but a conftest.py has loaded "
            "the plugin of Aquila. Let its entry point load it, or run pytest -p pytest_aquila.plugin"
        )
    if not _is_started_by_command() or not _can_be_started_again():
        raise pytest.UsageError(
            "aquila_guard = sealed: a program has called pytest.main(), and would have to be executed again as a "
            f"whole. Start pytest by its command. {_OTHERWISE}"
        )


def _is_conftest(plugin: object) -> bool:
    return Path(getattr(plugin, "__file__", None) or "").name == "conftest.py"


def _is_started_by_command() -> bool:
    """Whether the innermost run of pytest is that of the command, not one that a program or a test has started."""
    # The callers on the stack show it: pytest has no public sign for a run of its command.
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "_pytest.config" and frame.f_code.co_name in ("main", "_main"):
            caller = frame.f_back
            return caller is not None and caller.f_code.co_name in ("console_main", "_console_main")
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _can_be_started_again() -> bool:
    """Whether the program is a file, a module or the argument of ``-c``, and not read from a terminal or a pipe."""
    main = sys.modules["__main__"]
    return (
        getattr(main, "__spec__", None) is not None
        or os.path.exists(getattr(main, "__file__", None) or "")
        or ("-c" in sys.orig_argv)
    )


_REFUSED = re.compile(r"refused|connect call failed|\(111\)|errno 111", re.IGNORECASE)
_PORT = re.compile(r"(?:(?:\b127(?:\.\d+){3}|localhost|::1\]?)['\"]?(?::|, ?)|\bport[ =])(\d{1,5})\b")


def advise_on_ports(text: str) -> str | None:
    """Return advice for a failed test whose error names a port of this machine that refuses connections, or None.

    ``text`` is the report. Clients written in C, such as libpq, connect without Python, so only their messages tell it.
    """
    ports = dict.fromkeys(port for port in _ports_in(text) if not _is_open(port))
    if not ports or "aquila_sealed_ports" in text:
        return None
    return "\n".join(map(policy.explain_closed_port, ports))


def _ports_in(text: str) -> Iterator[int]:
    for line in text.splitlines():
        if _REFUSED.search(line):
            yield from (int(number) for number in _PORT.findall(line))


def _is_open(port: int) -> bool:
    with socket.socket() as asking:
        try:
            return asking.connect_ex(("127.0.0.1", port)) == 0
        except OverflowError:
            return True
