"""Aquila runs within a test, and upstreams for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aquila.config import SettingsLayers
from aquila.recording.runtime import Run, current_run
from aquila.transports import upstreams


def separate_run(folder: Path, **layers: Any) -> Run:
    """Return a run of the project in ``folder``. It ignores pytest's settings and the scope of the test."""
    return Run(SettingsLayers(folder, **layers))


def name_upstream(name: str, transport: Any) -> None:
    """Register an upstream in the current run under a name, as a plugin would."""
    current_run().state_of(upstreams.LoadedUpstreams)[name] = upstreams.upstream_from(transport, name)
