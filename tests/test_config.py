"""How the values of settings are read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aquila.config import SettingsLayers
from aquila.errors import ConfigError
from aquila.intercept.http_clients.side_requests import DOWNLOADS, SIDE_REQUESTS
from aquila.recording.environment import (
    SetVariables,
    read_environment,
    read_variables,
    set_own_variables,
    unset_own_variables,
)
from aquila.setting_types import StartSettings
from aquila.settings import Settings


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("90", 90), ("12w", 84), ("36h", 1.5)])
def test_an_age_is_a_number_of_days_weeks_or_hours(tmp_path: Path, text: str, days: float) -> None:
    settings = SettingsLayers(tmp_path, ini={"max_age": text}).resolve()
    assert settings.max_age == days


@pytest.mark.parametrize("text", ["0d", "-1w", "w", "12 months", "d12"])
def test_an_invalid_age_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="max_age"):
        SettingsLayers(tmp_path, ini={"max_age": text}).resolve()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("timeout", "abc", "must be a number of seconds above 0"),
        ("timeout", "nan", "must be a number of seconds above 0"),
        ("replay_timing", "fast", "must be 'instant', 'recorded' or a factor of 0 or more"),
        ("max_age", "3x", "must be an age such as 90d, 12w or 36h"),
        ("sealed_ports", "db:5432", "must be ports of this machine, numbers from 1 to 65535"),
        ("cassette_dir", "a\0b", "must be text without NUL characters"),
        ("dummy_keys", "=x", "must be NAME, NAME=value or -NAME for each variable, not '=x'"),
        *[
            (
                name,
                "https://acme.example",
                "must be hosts, such as models.example, *.internal or localhost:8080, not 'https://acme.example'",
            )
            for name in ("providers", "ignore_hosts")
        ],
        *[
            (
                "side_requests",
                row,
                f"must be methods and addresses, a line each, such as POST api.example.com/v1/*, not {row!r}",
            )
            for row in (
                "traces.acme.example/v1",
                "POST https://acme.example/v1",
                "post acme.example/v1",
                "GET acme.example",
            )
        ],
    ],
)
def test_a_mistake_in_the_ini_file_names_the_key_and_what_it_takes(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"ini file: aquila_{name} {text!r}: {told} (")):
        SettingsLayers(tmp_path, ini={name: text}).resolve()


def test_every_default_side_request_can_be_removed(tmp_path: Path) -> None:
    rows = tuple(f"-{row}" for row in (*SIDE_REQUESTS, *DOWNLOADS, "* acme.example/*"))
    assert SettingsLayers(tmp_path, ini={"side_requests": "\n".join(rows)}).resolve().side_requests == rows


def test_dummy_keys_may_have_any_name_of_a_variable(tmp_path: Path) -> None:
    words = "A_KEY Ü1=a=b, _X= -unset\n-OPENAI_API_KEY"
    found = SettingsLayers(tmp_path, ini={"dummy_keys": words}).resolve().dummy_keys
    assert found == ("A_KEY", "Ü1=a=b", "_X=", "-unset", "-OPENAI_API_KEY")


def test_the_environment_is_read_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"EMPTY": "", "LINES": "a=b\nc", "NO_TEXT": os.fsdecode(b"\xff\xfe")}.items():
        monkeypatch.setenv(name, value)
    assert read_environment() == dict(os.environ)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without variables of Aquila."""
    for name in [name for name in os.environ if name.startswith("AQUILA_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("silent")
def test_without_options_the_settings_at_the_start_equal_the_resolved_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")  # no setting of a run
    layers = SettingsLayers(tmp_path, defaults={"transport": "replay"})
    start, settings = layers.at_start(), layers.resolve()
    assert layers.sets_no_option()
    asked = {name for name in dir(StartSettings) if name[0] != "_"}
    assert asked > {"transport", "guard"}
    assert {name: getattr(start, name) for name in asked} == {name: getattr(settings, name) for name in asked}


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("layer", ["ini", "command_line", "environment", "defaults"])
def test_with_any_option_the_settings_are_parsed_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    layers = SettingsLayers(tmp_path, **({} if layer == "environment" else {layer: {"timeout": "never"}}))
    if layer == "environment":
        monkeypatch.setenv("AQUILA_TIMEOUT", "never")
    assert not layers.sets_no_option()
    with pytest.raises(ConfigError, match="timeout"):
        layers.at_start()


@pytest.mark.usefixtures("silent")
def test_an_empty_variable_sets_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_GUARD", "")
    assert SettingsLayers(tmp_path).sets_no_option()


def test_options_that_change_nothing_return_the_same_settings() -> None:
    settings = Settings(transport="replay", ignore=("user",))
    assert settings.with_options({"transport": "replay", "ignore": ["user"]}, source="here") is settings
    changed = settings.with_options({"transport": "live"}, source="here")
    assert (changed.transport, changed.ignore, settings.transport) == ("live", ("user",), "replay")


@pytest.mark.parametrize("replaced", [False, True], ids=["os.environ", "a mapping in its place"])
def test_variables_are_read_as_programs_have_set_them(monkeypatch: pytest.MonkeyPatch, replaced: bool) -> None:
    for name, value in {"AQUILA_TEST_A": "straße \udcff", "AQUILA_TEST_B": "other", "AQUILA_TEST_D": ""}.items():
        monkeypatch.setenv(name, value)
    if replaced:
        monkeypatch.setattr(os, "environ", dict(os.environ))
    asked = [f"AQUILA_TEST_{letter}" for letter in "ABCD"]
    assert read_variables(asked) == ["straße \udcff", "other", None, ""]


def test_own_variables_reach_programs_and_are_not_noted_as_set_by_a_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AQUILA_TEST_ONE", "before")
    variables = SetVariables()
    with variables.noting():
        set_own_variables({"AQUILA_TEST_ONE": "ä\udcff", "AQUILA_TEST_TWO": "two"})
        shown = [sys.executable, "-c", "import os; print(ascii(os.environ['AQUILA_TEST_ONE']))"]
        assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == "'\\xe4\\udcff'\n"
        assert (os.environ["AQUILA_TEST_ONE"], os.environ["AQUILA_TEST_TWO"]) == ("ä\udcff", "two")
        unset_own_variables(("AQUILA_TEST_ONE", "AQUILA_TEST_TWO", "AQUILA_TEST_THREE"))
        assert not {"AQUILA_TEST_ONE", "AQUILA_TEST_TWO"} & set(os.environ)
        assert subprocess.run(shown, capture_output=True, text=True, check=False).returncode
    assert variables.since(0) == []


def test_settings_follow_each_change_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = SettingsLayers(tmp_path)
    for name in ("AQUILA_TRANSPORT", "AQUILA_MODEL", "AQUILA_RECORD"):
        monkeypatch.delenv(name, raising=False)
    nothing_set = layers.resolve()
    assert layers.resolve() is nothing_set
    monkeypatch.setenv("AQUILA_TRANSPORT", "replay")
    assert (layers.resolve().transport, layers.resolve().transport) == ("replay", "replay")
    monkeypatch.setenv("AQUILA_TRANSPORT", "live")  # the same variables, with another value
    assert layers.resolve().transport == "live"
    monkeypatch.setenv("AQUILA_MODEL", "one")  # one more
    assert (layers.resolve().transport, layers.resolve().model) == ("live", "one")
    monkeypatch.delenv("AQUILA_TRANSPORT")  # one less
    assert (layers.resolve().transport, layers.resolve().model) == (nothing_set.transport, "one")
    monkeypatch.delenv("AQUILA_MODEL")
    assert layers.resolve() is nothing_set


@pytest.mark.parametrize(
    ("folder", "text", "shown"),
    [
        ("/a/b.c", "/a/b.c/d/x.yaml, line 2: bad: git add '/a/b.c/d/y z'", "d/x.yaml, line 2: bad: git add 'd/y z'"),
        ("/a/b.c", "/a/b.c: /a/b.c/ /a/b.cd/x, /a/bxc/y, /mnt/a/b.c/z, https://a/b.c/z", None),
        ("/", "/a/x.yaml of / and POST /v1/chat", None),
    ],
)
@pytest.mark.skipif(os.sep != "/", reason="these paths are those of POSIX")
def test_paths_in_a_text_are_shown_from_the_folder_of_the_user(folder: str, text: str, shown: str | None) -> None:
    assert SettingsLayers(Path("/a"), started_in=folder).shown_text(text) == (text if shown is None else shown)
