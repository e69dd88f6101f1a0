"""Where ``aquila.vcr`` differs from vcrpy: files that only vcrpy reads, secrets, and options that have no effect."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import vcr as vcrpy
from vcr.persisters.filesystem import CassetteNotFoundError, FilesystemPersister

import aquila
from aquila import vcr
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cli import main
from aquila.errors import CassetteCorrupt, CassetteMiss
from aquila.recording import runtime
from aquila.recording.scope import Scope
from tests.support.runs import separate_run
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream, upstream

SECRET = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9"


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.chdir(root.parent)
    with upstream(lambda path, body: Answer(chunks=[b'{"number": %d}' % len(running.requests)])) as running:
        yield running


def get(url: str, **options: Any) -> int:
    number: int = httpx.get(url, **options).json()["number"]
    return number


def test_a_request_that_is_not_recorded_raises_what_vcrpy_names(server: Upstream) -> None:
    block = vcr.use_cassette("x.yaml", record_mode="none")
    with block, pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException):
        get(server.url)
    asked = vcr.Request("GET", server.url, b"", {})
    with vcr.use_cassette("x.yaml") as cassette, pytest.raises(vcr.errors.UnhandledHTTPRequestError):
        cassette.responses_of(asked)


class LinesSerializer:
    """A format that nothing else reads."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        return "lines\n" + json.dumps(cassette)

    @staticmethod
    def deserialize(text: str) -> Any:
        return json.loads(text.removeprefix("lines\n"))


def record_with(recorder: Any, path: str, url: str, **options: Any) -> None:
    with recorder.use_cassette(path, **options):
        get(url)


@pytest.mark.parametrize(
    ("path", "options"),
    slow_but(
        [
            ("x.yaml", {}),
            ("x.lines", {"serializer": "lines"}),
            ("x.yaml", {"serializer": "lines"}),
            (f"{'n' * 240}.yaml", {}),
            (r"c:[\xfc].yaml", {}),
        ],
        [
            ("x.yaml", {}),
            ("without a suffix", {}),
            ("x.json", {"serializer": "json"}),
            ("x.lines", {"serializer": "lines"}),
            ("x.yaml", {"serializer": "lines"}),
            (f"{'n' * 240}.yaml", {}),
            (r"c:[\xfc].yaml", {}),
            ("x.YAML", {}),
        ],
        of_several_names=True,
    ),
)
def test_a_file_of_vcrpy_answers_whatever_its_format_and_stays_as_it_is(
    path: str, options: dict[str, Any], server: Upstream
) -> None:
    old, new = vcrpy.VCR(), vcr.VCR()
    for recorder in (old, new):
        recorder.register_serializer("lines", LinesSerializer)
    record_with(old, path, f"{server.url}/a", **options)
    before = Path(path).read_bytes()
    for _ in range(2):
        with new.use_cassette(path, record_mode="once", **options) as cassette:
            assert Path(cassette.path) == Path(path)  # by which a program may know that this is a replay
            assert get(f"{server.url}/a") == 1
            assert (len(cassette), cassette.all_played) == (1, True)
    with new.use_cassette(path, record_mode="new_episodes", **options):
        assert [get(f"{server.url}/{name}") for name in "ab"] == [1, 2]
    with new.use_cassette(path, record_mode="none", **options):
        assert [get(f"{server.url}/{name}") for name in "ab"] == [1, 2]
    if (path, options) != ("x.yaml", {}):  # the only one into which Aquila records
        assert Path(path).read_bytes() == before
    with new.use_cassette(path, record_mode="all", **options):
        assert get(f"{server.url}/a") == 3
    with new.use_cassette(path, record_mode="none", **options):
        assert get(f"{server.url}/a") == 3


def test_a_name_that_is_too_long_for_a_file_is_shortened(server: Upstream) -> None:
    for _ in range(2):
        with vcr.use_cassette(f"{'n' * 260}.yaml"):
            assert get(f"{server.url}/a") == 1


def test_a_hook_gets_a_body_in_a_form_of_its_own_as_the_file_has_it(server: Upstream) -> None:
    def keep_value(answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"body": {"data": json.loads(answer["body"]["string"])}}

    def give_text(answer: dict[str, Any]) -> dict[str, Any]:
        data = answer["body"].get("data")
        return answer if data is None else answer | {"body": {"string": json.dumps(data).encode()}}

    def turn(answer: dict[str, Any]) -> dict[str, Any]:
        return keep_value(answer) if "string" in answer["body"] else give_text(answer)

    record_with(vcrpy.VCR(serializer="json", before_record_response=keep_value), "x.json", server.url)
    for hook in (give_text, turn):
        with vcr.VCR(serializer="json", before_record_response=hook).use_cassette("x.json"):
            assert get(server.url) == 1
    for _ in ("recorded", "replayed"):
        with vcr.VCR(before_record_response=turn).use_cassette("y.yaml"):
            assert get(server.url) == 2


def test_a_miss_names_the_file_of_vcrpy_that_has_the_recordings(server: Upstream) -> None:
    record_with(vcrpy.VCR(serializer="json"), "x.json", f"{server.url}/a")
    with vcr.use_cassette("x.json", record_mode="none"), pytest.raises(CassetteMiss) as missed:
        get(f"{server.url}/b")
    assert re.search(r"^  cassette +\S*x\.json: 1 recording$", str(missed.value), re.MULTILINE)


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("x.yaml", b"aquila: 1\ninteractions:\n<<<<<<< ours\n=======\n>>>>>>> theirs\n...\n", "line 3: git conflict"),
        ("x.yaml", b"interactions: []\n<<<<<<< ours\n=======\n>>>>>>> theirs\n", "line 2: git conflict"),
        ("x.yaml", b"aquila: 1\ninteractions: []\n", "the file is cut off"),
        ("x.yaml", b"aquila: 99\ninteractions: []\n...\n", "written by a newer Aquila"),
        ("x.yaml", b"", "the file is empty"),
        ("x.yaml", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        ("x.msgpack", b"\x94\xa6aquila\x01\xce", "not a cassette in msgpack form"),
    ],
)
def test_of_a_damaged_cassette_of_aquila_its_own_message_is_shown(
    path: str, content: bytes, says: str, server: Upstream
) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(CassetteCorrupt, match=says), vcr.use_cassette(path):
        pass
    assert [each.name for each in Path().glob("x*")] == [path]


def test_a_folder_with_the_name_of_a_cassette_is_left_to_the_persister(server: Upstream) -> None:
    class InFolders(FilesystemPersister):  # type: ignore[misc]
        @classmethod
        def load_cassette(cls, cassette_path: Any, serializer: Any) -> Any:
            return super().load_cassette(Path(cassette_path) / "kept", serializer)

    with vcrpy.use_cassette("kept.yaml"):
        assert get(f"{server.url}/a") == 1
    Path("x.yaml").mkdir()
    Path("kept.yaml").rename("x.yaml/kept")
    recorder = vcr.VCR()
    recorder.register_persister(InFolders)
    with recorder.use_cassette("x.yaml", record_mode="none"):
        assert get(f"{server.url}/a") == 1


@pytest.mark.skipif(os.sep != "/", reason="a backslash begins a folder")
@pytest.mark.parametrize("name", ["x.json", "x[\\xfc].json"])
def test_a_converted_cassette_answers_for_the_name_that_a_program_gives(name: str, server: Upstream) -> None:
    record_with(vcrpy.VCR(serializer="json"), name, f"{server.url}/a")
    assert main(["cassettes", "convert", name, "--to", "yaml", "--replace"]) == 0
    assert not Path(name).exists()
    with vcr.use_cassette(name, serializer="json", record_mode="none"):
        assert get(f"{server.url}/a") == 1


def test_a_persister_of_its_own_is_asked_for_what_is_not_there(server: Upstream) -> None:
    kept: dict[str, Any] = {}

    class Memory(FilesystemPersister):  # type: ignore[misc]
        @classmethod
        def load_cassette(cls, cassette_path: str, serializer: Any) -> Any:
            name = Path(cassette_path).name
            if name not in kept:
                raise CassetteNotFoundError(name)
            return kept[name]["requests"], kept[name]["responses"]

        @staticmethod
        def save_cassette(cassette_path: str, cassette_dict: dict[str, Any], serializer: Any) -> None:
            kept[Path(cassette_path).name] = cassette_dict

    old, new = vcrpy.VCR(), vcr.VCR()
    for recorder in (old, new):
        recorder.register_persister(Memory)
    record_with(old, "x.yaml", f"{server.url}/a")
    with new.use_cassette("x.yaml"):
        assert get(f"{server.url}/a") == 1
    record_with(new, "y.yaml", f"{server.url}/b")
    assert list(kept) == ["x.yaml"]
    assert Path("y.yaml").exists()


@pytest.mark.parametrize("client", [httpx, requests], ids=lambda client: client.__name__)
@pytest.mark.parametrize(("coding", "encode"), [("identity", bytes), ("gzip", gzip.compress)], ids=["plain", "gzip"])
def test_a_persister_may_return_another_body_than_was_recorded(
    coding: str, encode: Callable[[bytes], bytes], client: Any, server: Upstream
) -> None:
    class Placeholders(FilesystemPersister):  # type: ignore[misc]
        @classmethod
        def load_cassette(cls, cassette_path: Any, serializer: Any) -> Any:
            asked, answered = super().load_cassette(cassette_path, serializer)
            for each in answered:
                del each["headers"]["transfer-encoding"]
                each["body"]["string"] = encode(b'{"number": 7}')
            return asked, answered

    sent = encode(b'{"number": <A-NUMBER>}')
    server.script = lambda path, body: Answer(
        headers={"content-length": str(len(sent)), "content-encoding": coding}, chunks=[sent]
    )
    with vcrpy.use_cassette("x.json"):
        client.get(f"{server.url}/a")
    recorder = vcr.VCR(record_mode="none")
    recorder.register_persister(Placeholders)
    with recorder.use_cassette("x.json"):
        answer = client.get(f"{server.url}/a")
    assert answer.json() == {"number": 7}
    assert not {"content-encoding", "content-length"} & {name.lower() for name in answer.headers}


def test_secrets_are_redacted_whatever_the_filters_do(server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=[json.dumps({"number": 1, "key": SECRET}).encode()])
    for number, options in enumerate(
        [{}, {"filter_headers": ["authorization"]}, {"before_record_request": lambda request: request}]
    ):
        path = Path(f"{number}.yaml")
        with vcr.use_cassette(str(path), **options):
            get(f"{server.url}/a?api_key={SECRET}", headers={"Authorization": f"Bearer {SECRET}"})
        assert "[redacted]" in path.read_text()
        assert SECRET not in path.read_text()
        with vcr.use_cassette(str(path), record_mode="none", **options):
            assert get(f"{server.url}/a?api_key=another-{SECRET[::-1]}") == 1


def without_authorization(request: Any) -> Any:
    request.headers.pop("authorization")
    return request


@pytest.mark.parametrize(
    "options", [{"filter_headers": ["authorization"]}, {"before_record_request": without_authorization}], ids=list
)
def test_a_key_that_a_filter_takes_out_of_a_header_is_redacted_in_the_body_too(
    options: dict[str, Any], server: Upstream
) -> None:
    key = "quiet-owl-" + "7731-garden-gate"  # of no known form
    with vcr.use_cassette("x.yaml", **options):
        httpx.post(f"{server.url}/a", json={"text": f"My key is {key}"}, headers={"authorization": f"Bearer {key}"})
    assert "My key is [redacted]" in Path("x.yaml").read_text()
    assert key not in Path("x.yaml").read_text()


@pytest.mark.parametrize("options", [{"filter_headers": ["authorization"]}, {"before_record_request": None}], ids=list)
@pytest.mark.parametrize("match_on", [["method", "uri"], ["method", "uri", "body"]], ids=len)
def test_a_token_that_is_a_part_of_the_url_replays_from_a_cassette_of_vcrpy(
    options: dict[str, Any], match_on: list[str], server: Upstream
) -> None:
    token = "1072250532645998596"  # a user's id, which a suite sends in place of a token that begins with it
    url = f"{server.url}/users/{token}/lists"
    headers = {"authorization": f'OAuth oauth_token="{token}", oauth_version="1.0"'}
    with vcrpy.use_cassette("x.yaml", filter_headers=["authorization"]):
        get(url, headers=headers)
    with vcr.use_cassette("x.yaml", record_mode="none", match_on=match_on, **options) as cassette:
        assert get(url, headers={**headers, "accept": "application/json"}) == 1
        with pytest.raises(CassetteMiss):
            get(f"{server.url}/users/{token[::-1]}/lists", headers=headers)
    assert cassette.all_played


def test_a_program_that_signs_in_by_a_cookie_replays_from_a_cassette_of_vcrpy(server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=[b"{}"], headers={"set-cookie": "session=quiet-owl-7731; Path=/"})
    with vcrpy.use_cassette("x.yaml"):
        httpx.post(f"{server.url}/sign-in")
    with vcr.use_cassette("x.yaml", record_mode="none"), httpx.Client() as client:
        client.post(f"{server.url}/sign-in")
        assert client.cookies["session"] == "quiet-owl-7731"


def test_a_file_of_vcrpy_that_gets_a_recording_is_one_of_aquila_without_secrets(server: Upstream) -> None:
    answer = Answer(chunks=[b'{"number": 1}'], headers={"set-cookie": "session=quiet-owl-7731; Path=/"})
    server.script = lambda path, body: answer
    with vcrpy.use_cassette("x.yaml"):
        get(f"{server.url}/a?api_key={SECRET}", headers={"x-note": "kept by vcrpy"})
    with vcr.use_cassette("x.yaml", record_mode="new_episodes"):
        get(f"{server.url}/a?api_key={SECRET}")
        get(f"{server.url}/b?api_key={SECRET}")
    text = Path("x.yaml").read_text()
    assert (text.count("/a?api_key=%5Bredacted%5D"), text.count("/b?api_key=%5Bredacted%5D")) == (1, 1)
    assert not [each for each in (SECRET, "quiet-owl") if each in text]
    assert "x-note: kept by vcrpy" in text
    with vcr.use_cassette("x.yaml", record_mode="none") as cassette:
        get(f"{server.url}/a?api_key={SECRET[::-1]}")
        get(f"{server.url}/b?api_key={SECRET[::-1]}")
    assert cassette.all_played


def test_an_option_without_effect_is_named_once(server: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        recorder = vcr.VCR(custom_patches=["x"], serializer="lines", decode_compressed_response=True)
        recorder.register_serializer("lines", LinesSerializer)
        with recorder.use_cassette("x.yaml", skip_patchers=("httpx",), allow_everything=True):
            get(f"{server.url}/a")
    formats = "cassettes are written in Aquila's own format"
    told = [
        "vcr: custom_patches has no effect: clients are caught closer to the network; see docs/any-client.md",
        f"vcr: register_serializer has no effect beyond reading: {formats}",
        "vcr: skip_patchers has no effect: clients are caught closer to the network; see docs/any-client.md",
        "vcr: allow_everything has no effect: neither vcrpy nor Aquila knows it",
        f"vcr: the serializer lines has no effect beyond reading: {formats}",
    ]
    assert [text for text, _ in runtime.current_run().notes] == told
    assert [record.getMessage() for record in caplog.records if record.name == "aquila"] == told


def test_a_test_run_records_only_where_it_is_told_to(tmp_path: Path) -> None:
    with separate_run(tmp_path, under_pytest=True):
        for options, records in (({}, False), ({"record_mode": "none"}, False), ({"record_mode": "once"}, True)):
            plan = vcr.VCR(**options).plan_cassette(options={"path": str(tmp_path / "x.yaml")})
            assert plan.settings["transport"] == ("record" if records else "replay")
    with separate_run(tmp_path, under_pytest=True, command_line={"transport": "record", "record": "all"}):
        plan = vcr.VCR(record_mode="none").plan_cassette(options={"path": str(tmp_path / "x.yaml")})
        assert not {"transport", "record"} & plan.settings.keys()
        assert "body" in plan.settings["match_on"]  # what has drifted is to be recorded
    with separate_run(tmp_path):
        plan = vcr.VCR().plan_cassette(options={"path": str(tmp_path / "x.yaml")})
        assert plan.settings["transport"] == "record"


def test_the_ini_key_replaces_the_default_of_match_on_and_no_other_choice(tmp_path: Path) -> None:
    with separate_run(tmp_path, ini={"match_on": "method path body"}):
        path = {"path": str(tmp_path / "x.yaml")}
        assert "match_on" not in vcr.VCR().plan_cassette(options=path).settings
        same = ["method", "scheme", "host", "port", "path", "query"]  # as vcrpy's default, but chosen
        assert vcr.VCR(match_on=same).plan_cassette(options=path).settings["match_on"]
        chosen = vcr.VCR().plan_cassette(options={**path, "match_on": ["uri"]})
        assert chosen.settings["match_on"] == ("scheme", "host", "path", "query")


def test_a_block_that_fails_leaves_the_cassette_as_it_is(server: Upstream) -> None:
    record_with(vcr, "x.yaml", f"{server.url}/a")
    before = Path("x.yaml").read_bytes()
    with pytest.raises(ZeroDivisionError), vcr.use_cassette("x.yaml", record_mode="all"):
        get(f"{server.url}/a")
        raise ZeroDivisionError
    assert Path("x.yaml").read_bytes() == before
    assert Path("x.pending.yaml").exists()


def test_unused_recordings_are_dropped_where_that_was_asked_for(server: Upstream) -> None:
    record_with(vcr, "x.yaml", f"{server.url}/a")
    record_with(vcr, "x.yaml", f"{server.url}/b", record_mode="new_episodes")
    assert len(load_cassette(Path("x.yaml")).interactions) == 2
    record_with(vcr, "x.yaml", f"{server.url}/c", record_mode="new_episodes", drop_unused_requests=True)
    assert [each.request.url[-1] for each in load_cassette(Path("x.yaml")).interactions] == ["c"]


@pytest.mark.parametrize(
    ("drops", "settings", "is_owned", "are_kept"),
    [
        (True, {"record": "missing"}, True, False),
        (False, {"record": "missing"}, False, True),
        (False, {}, False, False),
    ],
)
def test_unused_recordings_of_a_cassette_that_tests_may_share_are_dropped_only_where_that_was_asked_for(
    drops: bool, settings: dict[str, Any], is_owned: bool, are_kept: bool
) -> None:
    plan = replace(vcr.VCR().plan_cassette(options={"path": "x.yaml"}), drops_unused=drops, settings=settings)
    scope = Scope(kind="test", name="a test")
    plan.apply_to(scope, owned=False, source="a test")
    assert (scope.owns_cassette, scope.keeps_unused, scope.drops_unused) == (is_owned, are_kept, drops)


def test_async_blocks_and_own_blocks_within_nest(server: Upstream) -> None:
    asyncio.run(_nest(server))


async def _nest(server: Upstream) -> None:
    async with vcr.use_cassette("x.yaml", before_record_request=lambda request: request) as outer:
        with vcr.use_cassette("y.yaml") as inner:
            get(f"{server.url}/a")
        with aquila.use_cassette("z", transport="replay", loopback="all"), pytest.raises(CassetteMiss):
            get(f"{server.url}/a")
    assert (len(outer), len(inner)) == (0, 1)


def test_without_vcrpy_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['vcr'] = None\ntry:\n    from aquila import vcr\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "aquila.vcr needs the package 'vcr'; install it with: pip install 'aquila-llm[vcr]'" in done.stdout


@pytest.mark.slow  # a process
def test_with_an_old_vcrpy_it_says_what_to_install() -> None:
    code = "import vcr; vcr.__version__ = '8.5.0'\ntry:\n    import aquila.vcr\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "aquila.vcr needs the package 'vcr' in version 9.4.2 or newer, and 8.5.0 is installed; " in done.stdout
