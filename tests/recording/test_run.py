"""A run owns its state and its scopes, and leaves everything around it as it was."""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

import aquila
from aquila.errors import CassetteMiss, ConfigError, UnknownTransport
from aquila.recording import scope as scopes
from aquila.recording.runtime import Run, current_run, current_settings, process_run
from aquila.recording.sessions.miss_explanation import name_settings_file
from aquila.setting_lines import AS_ARGUMENTS
from aquila.transports.upstreams import find_upstream
from tests.support.runs import name_upstream, separate_run


def test_a_run_within_a_run_has_settings_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    outer = current_run()
    before = current_settings()
    with separate_run(tmp_path, ini={"model": "another"}) as run:
        assert current_run() is run
        assert current_settings().model == "another"
        assert current_settings().cassette_root() == tmp_path / "cassettes"
    assert current_run() is outer
    assert current_settings() == before


def test_only_the_process_itself_reads_no_settings_file(tmp_path: Path) -> None:
    assert name_settings_file(process_run()) == AS_ARGUMENTS
    with separate_run(tmp_path, settings_file="tox.ini") as run:
        assert name_settings_file(run) == "tox.ini"


def test_a_misspelt_transport_is_refused_before_the_block_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with separate_run(tmp_path):
        for option in ("transport", "upstream"):
            block = aquila.use_cassette("x", **{option: "lvie"})  # type: ignore[arg-type]
            with pytest.raises(UnknownTransport, match=f"use_cassette.'x'.: {option}: .*; did you mean 'live'"), block:
                pass
            number = aquila.use_cassette("x", **{option: 5})  # type: ignore[arg-type]
            with number as cassette, pytest.raises(UnknownTransport, match="unknown transport '5'"):
                find_upstream(getattr(cassette._scope.settings, option))
        decorated = aquila.use_cassette("x", transport="recorder")(len)  # before the plugin is registered
        name_upstream("recorder", httpx2.MockTransport(lambda request: httpx2.Response(200)))
        assert decorated("ab") == 2
        monkeypatch.setenv("AQUILA_TRANSPORT", "recrod")
        with pytest.raises(UnknownTransport, match=r"^environment variable AQUILA_TRANSPORT: .*did you mean 'record'"):
            aquila.use_cassette("x").__enter__()


def test_a_program_that_records_nothing_yet_is_told_how_and_nothing_about_tests(tmp_path: Path) -> None:
    with separate_run(tmp_path):
        name_upstream("canned", httpx2.MockTransport(lambda request: httpx2.Response(200, json={"choices": []})))
        for name, transport in (("birds", "record"), ("other", "replay")):
            with suppress(CassetteMiss), aquila.use_cassette(name, transport=transport, upstream="canned") as cassette:
                httpx2.post("https://api.openai.com/v1/chat/completions", json={"messages": []})
    (miss,) = cassette.misses
    assert 'AQUILA_TRANSPORT=record in the environment, or transport="record" in use_cassette' in str(miss)
    assert str(miss).endswith("/cassettes/birds.yaml.")


def test_no_scope_around_a_run_is_in_force_within_it(tmp_path: Path) -> None:
    with separate_run(tmp_path), aquila.use_cassette("outer") as cassette:
        with separate_run(tmp_path):
            assert scopes.current_scope() is None
            with aquila.use_cassette("inner"):
                inner = scopes.current_scope()
                assert inner is not None
                assert (inner.default_cassette, inner.parent) == ("inner", None)
        outer = scopes.current_scope()
        assert outer is not None
        assert outer.default_cassette == cassette.name


def test_a_scope_that_a_run_left_open_is_found_by_nobody_afterwards(tmp_path: Path) -> None:
    forgotten = aquila.use_cassette("forgotten")
    with separate_run(tmp_path) as run:
        forgotten.__enter__()
        assert len(run.scopes) == 1
    assert len(run.scopes) == 0
    bound = scopes.bound_scope.get()
    assert bound is None or bound.default_cassette != "forgotten"


def test_a_run_leaves_what_it_holds_last_first_even_when_it_fails(tmp_path: Path) -> None:
    left: list[str] = []

    class Resource:
        def __init__(self, name: str) -> None:
            self._name = name

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            left.append(self._name)

    outer = current_run()
    with pytest.raises(OSError, match="within"), separate_run(tmp_path) as run:
        run.hold(Resource("first"))  # type: ignore[arg-type]
        run.hold(Resource("second"))  # type: ignore[arg-type]
        raise OSError("within")
    assert left == ["second", "first"]
    assert current_run() is outer


def test_the_state_that_a_module_keeps_in_a_run_is_made_once_and_belongs_to_that_run(tmp_path: Path) -> None:
    class Kept:
        pass

    def kept(run: Run) -> Kept:
        return run.state_of(Kept)

    with separate_run(tmp_path) as outer, separate_run(tmp_path) as inner:
        assert kept(outer) is kept(outer)
        assert kept(outer) is not kept(inner)


def test_code_of_a_module_that_was_imported_again_finds_what_the_run_keeps(tmp_path: Path) -> None:
    def import_anew() -> type[object]:
        class Kept:
            pass

        return Kept

    with separate_run(tmp_path) as run:
        assert run.state_of(import_anew()) is run.state_of(import_anew())


def test_the_class_of_runs_can_be_inspected() -> None:
    assert "scopes" in dict(inspect.getmembers(Run))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("replay", "missing")),
        ({"AQUILA_RECORD": "missing"}, ("record", "missing")),
        ({"AQUILA_RECORD": "all"}, ("record", "all")),
        ({"AQUILA_RECORD": "all", "AQUILA_TRANSPORT": "record"}, ("record", "all")),
        ({"AQUILA_RECORD": "all", "AQUILA_TRANSPORT": "replay"}, ("replay", "all")),
        ({"AQUILA_RECORD": ""}, ("replay", "missing")),
    ],
)
def test_the_variable_that_says_how_to_record_also_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with separate_run(tmp_path, defaults={"transport": "replay"}):
        settings = current_settings()
        assert (settings.transport, settings.record) == expected
    with separate_run(tmp_path), aquila.use_cassette("x"):
        scope = scopes.current_scope()
        assert scope is not None
        assert (scope.settings.transport, scope.settings.record) == expected


def test_the_command_line_and_a_block_come_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_RECORD", "all")
    with separate_run(tmp_path, command_line={"transport": "live"}):
        assert current_settings().transport == "live"
    with separate_run(tmp_path, ini={"transport": "local"}):
        assert current_settings().transport == "record"
    with separate_run(tmp_path), aquila.use_cassette("x", transport="replay"):
        scope = scopes.current_scope()
        assert scope is not None
        assert scope.settings.transport == "replay"


def test_a_wrong_value_of_the_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_RECORD", "everything")
    with separate_run(tmp_path), pytest.raises(ConfigError, match=r"AQUILA_RECORD.*'everything'.*missing, all"):
        current_settings()
