"""The command ``aquila jobs``: which Huey it shows, who may see it, and how it ends."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from aquila.cli import main
from aquila.cli.queues.jobs import find_huey
from aquila.errors import ConfigError
from aquila.huey.huey_paths import load_huey

APP = """
    from aquila.huey import SqliteHuey
    from aquila.huey.live import publish_jobs

    huey, silent = SqliteHuey("app", filename="queue.db"), SqliteHuey("silent", filename="queue.db")
    publish_jobs(huey)
    number, at_once = 7, SqliteHuey("at_once", immediate=True)

    @huey.task()
    def write(topic):
        pass

    if __name__ == "jobs_app":
        write("eagles")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "jobs_app.py").write_text(textwrap.dedent(APP))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    if (module := sys.modules.pop("jobs_app", None)) is not None:
        module.huey.storage.close()


@pytest.mark.parametrize("place", ["jobs_app:huey", "jobs_app.huey"])
def test_a_huey_is_found_in_the_folder_where_the_command_is_run(place: str, folder: Path) -> None:
    assert find_huey(place).name == "app"


def test_a_module_may_have_attributes_that_raise_when_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Flask's ``current_app`` does where there is none, and Django's ``settings``."""
    (folder / "lazy_app.py").write_text(
        textwrap.dedent(
            """
            from aquila.huey import SqliteHuey

            class Lazy:
                def fail(self, *name):
                    raise RuntimeError("Working outside of application context.")

                __getattr__ = fail
                __class__ = property(fail)

            current_app, huey = Lazy(), SqliteHuey("app", filename="queue.db")
            """
        )
    )
    monkeypatch.syspath_prepend(folder)
    found = load_huey("lazy_app:huey", named_by="it is", where="")
    assert found is sys.modules["lazy_app"].huey
    with pytest.raises(ConfigError, match="did you mean 'huey'"):
        load_huey("lazy_app:hue", named_by="it is", where="")
    monkeypatch.delitem(sys.modules, "lazy_app")
    found.storage.close()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("huey", "'huey', which is no path of a Huey: write module:attribute"),
        (":huey", "':huey', which is no path of a Huey: write module:attribute"),
        (".jobs_app:huey", "'.jobs_app:huey', which is no path of a Huey: write module:attribute"),
        ("no_such.module:huey", "there is no module 'no_such'; start the command in the folder that has it, or add"),
        ("jobs_app:hue", "jobs_app has no 'hue'; did you mean 'huey'?"),
        ("jobs_app:zzz", "jobs_app has no 'zzz'; known are at_once, huey, silent"),
        ("jobs_app:silent", "this Huey does not publish its jobs. Call aquila.huey.live.publish_jobs(silent)"),
        ("jobs_app:number", "is no huey.Huey"),
        ("jobs_app:write", "is no huey.Huey"),
        ("jobs_app:at_once", "immediate mode"),
    ],
)
def test_the_error_says_why_a_huey_cannot_be_shown(place: str, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        find_huey(place)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('no sk-proj-' + 'a1B2c3D4e5' * 4)", r"ValueError: no \[redacted\] \(.*raising.py, line 1\)"),
        ("def (", r"SyntaxError: invalid syntax \(raising.py, line 1\)"),
        ("import no_such_library", r"ModuleNotFoundError: No module named 'no_such_library' \(.*raising.py, line 1\)"),
        ("import sys; sys.exit('no database')", r"SystemExit: no database \(.*raising.py, line 1\)"),
    ],
)
def test_an_error_in_the_users_module_is_reported_in_one_line(
    code: str, reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "raising.py").write_text(code)
    assert main(["dead-letters", "list", "--huey", "raising:huey"]) == 2
    assert re.fullmatch(
        rf"aquila: --huey is 'raising:huey', whose module cannot be imported: {reason}\n", capsys.readouterr().err
    )


def test_an_impossible_port_and_a_short_token_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--huey", "jobs_app:huey", "--port", "70000"]) == 2
    monkeypatch.setenv("AQUILA_JOBS_TOKEN", "short")
    assert main(["jobs", "--huey", "jobs_app:huey", "--host", "0.0.0.0"]) == 2
    errors = capsys.readouterr().err
    assert "there is no port 70000" in errors
    assert "AQUILA_JOBS_TOKEN is too short" in errors


def test_a_signal_that_comes_before_the_server_runs_ends_it_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_loop = uvicorn.Config.get_loop_factory

    def make_loop_and_interrupt(config: uvicorn.Config) -> object:
        # Uvicorn asks for this after it has made its coroutine, and before it runs it.
        signal.raise_signal(signal.SIGTERM)
        return make_loop(config)

    monkeypatch.setattr(uvicorn.Config, "get_loop_factory", make_loop_and_interrupt)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["jobs", "--huey", "jobs_app:huey", "--port", "0"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    gc.collect()  # where a coroutine was never awaited, warns of it
    assert "jobs of jobs_app:huey at http://127.0.0.1:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "token", "says", "shows"),
    [
        ([], "", [], True),
        (["--actions"], "", ["the token to act there: aquila-token-"], True),
        ([], "a-token-of-the-users", ["the token to see there: that of AQUILA_JOBS_TOKEN"], False),
        (["--actions", "--host", "0.0.0.0"], "", ["the token to see and act there: aquila-token-"], False),
    ],
)
def test_it_shows_jobs_until_it_is_interrupted(
    options: list[str], token: str, says: list[str], shows: bool, folder: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILA_", "PYTHON"))}
    with subprocess.Popen(
        [sys.executable, "-m", "aquila", "jobs", "--huey", "jobs_app:huey", "--port", "0", *options],
        cwd=folder,
        env={**environment, **({"AQUILA_JOBS_TOKEN": token} if token else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        for start in says:
            assert process.stdout.readline().startswith(start)
        url = first.partition(" at ")[2].strip()
        assert first.startswith("jobs of jobs_app:huey at http://127.0.0.1:")
        with httpx2.Client(transport=httpx2.HTTPTransport()) as client:
            answer = client.get(url)
        assert (answer.status_code == 200, "eagles" in answer.text) == (shows, shows)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
