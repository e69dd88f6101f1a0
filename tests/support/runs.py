"""Runs of Aquila within the run of the suite, and what they record from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aquila.config import SettingsLayers
from aquila.recording.runtime import Run, current_run
from aquila.transports import upstreams


def separate_run(folder: Path, **layers: Any) -> Run:
    """A run whose project is a folder. Within it, pytest's settings and the scope of the test are not in force."""
    return Run(SettingsLayers(folder, **layers))


def name_upstream(name: str, transport: Any) -> None:
    """Let the current run know a source of answers by a name, as if a plugin had registered it."""
    current_run().state_of(upstreams.LoadedUpstreams)[name] = upstreams.upstream_from(transport, name)
