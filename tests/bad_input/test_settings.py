"""Settings, arguments and names that are wrong: one clear sentence, before anything is sent."""

from __future__ import annotations

import pytest

from tests.bad_input.conftest import Project
from tests.support.slow import slow_but

KNOWN = "known are live, local, module:factory, record, replay, script"


def test_without_a_key_the_error_names_the_variable_and_the_alternatives(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("AQUILA_TRANSPORT", "live")
    project.write("answer()")
    output = project.fails()
    assert "MissingKey" in output
    for way in ("set OPENAI_API_KEY", "api_key=", "transport='replay'", "transport='local'"):
        assert way in output
    assert not project.asked


def test_no_key_for_a_recording_keeps_what_was_recorded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("assert answer() == 'Hello there.'")
    project.passes("--aquila-record")
    before = project.cassette.read_bytes()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "set OPENAI_API_KEY" in project.fails("--aquila-record=all")
    assert project.cassette.read_bytes() == before
    project.passes()


def test_no_key_and_no_provider_are_needed_to_replay(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("assert answer() == 'Hello there.'")
    project.passes("--aquila-record")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    project.passes()
    assert len(project.asked) == 1


@pytest.mark.parametrize(
    ("name", "advice"),
    slow_but(
        [("replya", "did you mean 'replay'?"), ("a:", KNOWN)],
        [
            ("replya", "did you mean 'replay'?"),
            ("Live", "did you mean 'live'?"),
            ("live ", "did you mean 'live'?"),
            *((name, KNOWN) for name in ("a:", ":b", ":")),
        ],
        of_several_names=True,
    ),
)
def test_for_an_unknown_transport_the_nearest_or_the_known_ones_are_named(
    name: str, advice: str, project: Project
) -> None:
    project.write("answer()")
    output = project.errs(f"--aquila-transport={name}")
    assert f"ERROR: command line: transport: unknown transport {name!r}; {advice}" in output
    assert not project.asked


def test_an_unknown_transport_in_a_call_the_environment_or_a_file_is_reported_alike(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("answer(transport='locale')")
    assert "unknown transport 'locale'; did you mean 'local'?" in project.fails()
    project.write("answer()")
    monkeypatch.setenv("AQUILA_TRANSPORT", "recrod")
    source = "environment variable AQUILA_TRANSPORT: transport"
    assert f"ERROR: {source}: unknown transport 'recrod'; did you mean 'record'?" in project.errs()
    monkeypatch.delenv("AQUILA_TRANSPORT")
    project.pytester.makeini("[pytest]\naquila_upstream = locla\n")
    assert "ERROR: tox.ini: aquila_upstream: unknown transport 'locla'; did you mean 'local'?" in project.errs()


REGISTERING = """
import aquila
import httpx2

class Plugin:
    @aquila.hookspecs.hookimpl
    def aquila_transports(self):
        return {"canned": lambda: httpx2.MockTransport(lambda request: httpx2.Response(418))}

def pytest_configure(config):
    config.add_cleanup(lambda: aquila.unregister(plugin))

plugin = aquila.register(Plugin())
"""


@pytest.mark.parametrize("folder", [".", "found_by_collecting"])
def test_a_transport_of_a_plugin_that_a_conftest_registers_is_known(project: Project, folder: str) -> None:
    project.write("with pytest.raises(aquila.errors.BadRequest): answer()")
    inner = project.pytester.path / folder
    inner.mkdir(exist_ok=True)
    (test,) = project.pytester.path.glob("test_*.py")
    test.rename(inner / test.name)
    (inner / "conftest.py").write_text(REGISTERING)
    project.passes("--aquila-transport=canned")


@pytest.mark.parametrize(
    ("name", "message"),
    slow_but(
        [
            ("mine:missing", "transport 'mine:missing': 'mine' has no 'missing'"),
            ("mine:only_async", "transport mine:only_async has no sync side"),
        ],
        [
            ("no_such_module:make", "transport 'no_such_module:make': cannot import 'no_such_module'"),
            ("no_such_module:make", "put the folder it is in on Python's path, such as PYTHONPATH=."),
            ("mine:missing", "transport 'mine:missing': 'mine' has no 'missing'"),
            ("mine:number", "transport 'mine:number' gave int, which is not a transport"),
            ("mine:client", "transport 'mine:client' gave Client, which is not a transport"),
            ("mine:nothing", "transport 'mine:nothing' gave NoneType, which is not a transport"),
            ("mine:greedy", "transport 'mine:greedy': the factory must be callable without arguments"),
            ("mine:mistaken", "TypeError: object of type 'int' has no len()"),
            ("mine:only_async", "transport mine:only_async has no sync side"),
        ],
        of_several_names=True,
    ),
)
def test_a_factory_that_is_no_transport_is_named_with_what_it_gave(name: str, message: str, project: Project) -> None:
    project.pytester.makepyfile(
        mine="""
        import httpx2

        number = 3
        client = lambda: httpx2.Client()
        nothing = lambda: None

        def greedy(url):
            return httpx2.HTTPTransport()

        def mistaken():
            return len(5)

        class only_async(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request):
                raise AssertionError
        """
    )
    project.write("answer()")
    assert message in project.fails(f"--aquila-transport={name}")
    assert message in project.fails("--aquila-record", f"--aquila-upstream={name}")
    assert not project.asked
    assert not list(project.folder.rglob("*.yaml"))


@pytest.mark.parametrize("name", ["replay", "record"])
def test_what_uses_cassettes_is_no_upstream(name: str, project: Project) -> None:
    project.write("answer()")
    message = f"{name} is no upstream, because it uses cassettes itself: give live, local, script or module:factory"
    assert message in project.fails("--aquila-record", f"--aquila-upstream={name}")
    assert not project.asked


@pytest.mark.parametrize(
    "name",
    slow_but(["../secrets", ""], ["../secrets", "a/../../b", "/etc/cassette", "C:/cassette", "", "  ", "a\\..\\..\\b"]),
)
def test_a_cassette_name_that_leaves_the_folder_or_is_empty_is_refused(name: str, project: Project) -> None:
    project.write(f"answer(cassette={name!r})")
    before = sorted(project.folder.parent.rglob("*"))
    for arguments in ((), ("--aquila-record",)):
        output = project.fails(*arguments)
        assert repr(name).strip("'") in output
        assert "cassette" in output
        assert "must not be empty" in output or "CassetteNameError" in output
    assert not project.asked
    assert set(project.folder.parent.rglob("*.yaml")) <= set(before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("answer('')", "InvalidMessage", "empty"),
        ("answer('   ')", "InvalidMessage", "empty"),
        ("answer([])", "InvalidMessage", "empty"),
        ("answer(None)", "InvalidMessage", "prompt"),
        ("answer([{'role': 'usr', 'content': 'hi'}])", "InvalidMessage", "user"),
        ("answer([('robot', 'hi')])", "InvalidMessage", "known are"),
        ("answer(instruction='Be brief.')", "UnknownOption", "did you mean 'instructions'?"),
        ("answer(max_tokens=5)", "UnknownOption", "max_"),
        ("answer(temperature='hot')", "ConfigError", "option 'temperature' must be a number from 0 to 2"),
        ("answer(timeout=0)", "ConfigError", "timeout must be a number of seconds above 0"),
        ("answer(endpoint='completions')", "ConfigError", "must be one of 'chat', 'responses'"),
        ("chunks(sink=print)", "ConfigError", "Sink.callback(f)"),
    ],
)
def test_a_call_that_cannot_be_sent_says_what_is_wrong_with_it(
    call: str, error: str, message: str, project: Project
) -> None:
    project.write(call)
    output = project.fails("--aquila-record")
    assert error in output
    assert message in output
    assert not project.asked
    assert not list(project.folder.rglob("*.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--aquila-record=some"], "give missing, all or pending, not 'some'"),
        (["--aquila-record=test_app.py"], "give missing, all or pending, not 'test_app.py'"),
        (["--aquila-record", "--aquila-transport=live"], "contradict each other"),
        (["-o", "aquila_repeat=often"], "must be one of error, last, first"),
        (["-o", "aquila_max_age=old"], "such as 90d"),
        (["--aquila-replay-timing=quick"], "instant, recorded, or a factor"),
    ],
)
def test_a_wrong_setting_stops_the_run_before_any_test(arguments: list[str], message: str, project: Project) -> None:
    project.write("answer()")
    assert message in project.errs(*arguments)
    assert not project.asked
