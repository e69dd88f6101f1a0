"""The transport ``script``: a script in a file answers, even outside of tests, without key, network and cassette."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import NoReturn

import httpx2

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage.names import cassette_path
from aquila.errors import CassetteNameError, ConfigError, UnscriptedRequest
from aquila.fork_locks import renewed_in_child
from aquila.recording import runtime
from aquila.recording.miss_outcomes import suit_to_place
from aquila.scripting.script import Script, ScriptedAnswer
from aquila.scripting.script_file import find_similar_script, load_script
from aquila.settings import Settings
from aquila.transports.replay import replay_response, replay_response_async
from aquila.transports.routes.script_route import as_decision, ask_script, explain_unscripted, pace_of
from aquila.transports.wire import read_request, read_request_async


class _FileOfRun:
    """The script that the setting ``script`` names. The run owns it. The first request reads the file."""

    def __init__(self) -> None:
        self._script: Script | None = None
        # Threads with a first request at the same time must share one script.
        self._lock = renewed_in_child(threading.Lock())

    def read(self) -> Script:
        with self._lock:
            if self._script is None:
                self._script = load_script(find_script_file())
            return self._script


def script_of_run() -> Script:
    """Return the script that the setting ``script`` names. Raises ``ConfigError``."""
    return runtime.current_run().state_of(_FileOfRun).read()


class ScriptTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Answers from the script that the setting ``script`` names."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = read_request(request)
        decision = as_decision(asked, self._ask(asked))
        return replay_response(decision, None, pace_of(decision, request))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = await read_request_async(request)
        decision = as_decision(asked, self._ask(asked))
        return await replay_response_async(decision, None, pace_of(decision, request))

    def _ask(self, asked: RecordedRequest) -> ScriptedAnswer:
        script, settings = script_of_run(), runtime.current_settings()
        answer = ask_script(script.decide, asked, settings, _refuse)
        return answer if answer is not None else _refuse(explain_unscripted(asked, script, settings))


def _refuse(missed: UnscriptedRequest) -> NoReturn:
    raise suit_to_place(missed)


def find_script_file() -> Path:
    """Return the file that the setting ``script`` names: a path, or the name of a script among the cassettes.

    Raises ``ConfigError``.
    """
    settings = runtime.current_settings()
    if settings.script is None:
        raise ConfigError(
            "the transport 'script' needs a script: set AQUILA_SCRIPT to its file, or to its name among the cassettes"
        )
    return script_of(settings.script, settings, given=f"AQUILA_SCRIPT={settings.script}")


def script_of(named: str, settings: Settings, *, given: str) -> Path:
    """Return the file of a script by its path, or by its name among the cassettes. ``given`` says who names it.

    Raises ``ConfigError``.
    """
    path = Path(named)
    if path.is_file():
        return path
    if path.is_dir():
        raise ConfigError(f"{given}: that is a folder; name the script in it")
    near = find_similar_script(path)
    with contextlib.suppress(CassetteNameError):  # a path is no name
        among_cassettes = cassette_path(settings.cassette_root(), named)
        if among_cassettes.is_file():
            return among_cassettes
        near = near or find_similar_script(among_cassettes)
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigError(f"{given}: there is no such file, here or in {settings.cassette_root()}{hint}")
