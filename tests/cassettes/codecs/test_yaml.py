"""YAML cassettes: read safely, with the place of every mistake, and as people edit them."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from yaml._yaml import CParser

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.codecs.gc_pause import pause_garbage_collection
from aquila.cassettes.codecs.yaml import parser
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import CassetteCorrupt, CassetteTooNew
from aquila.shell_words import quote_word
from tests.support.cassettes import cassettes
from tests.support.examples import examples
from tests.support.threads import run_at_once

YAML = codec_for(Path("a.yaml"))

ONE = """\
aquila: 1
interactions:
- request:
    method: POST
    url: https://api.example/v1/chat
    json:
      model: m
      n: 1
  recorded: {at: 2026-11-24T10:00:00Z, started: 5, ended: 20}
  response:
    status: 200
    headers:
      content-type: application/json
    json:
      id: x
      text: |-
        a
        b
...
"""

RESPONSE = "json:\n      id: x"
"""A key of the response, before which others can stand."""

MEANT = Cassette(
    (
        Interaction(
            RecordedRequest("POST", "https://api.example/v1/chat", (), b'{"model":"m","n":1}'),
            RecordedResponse(
                200,
                (("content-type", "application/json"),),
                (RecordedChunk(b'{"id":"x","text":"a\\nb"}', 20),),
                started=5,
                ended=20,
            ),
            "2026-11-24T10:00:00Z",
        ),
    )
)


def load(text: str | bytes) -> Cassette:
    return YAML.loads(text.encode() if isinstance(text, str) else text, source="demo.yaml")


def changed(old: str, new: str) -> str:
    assert ONE.count(old) == 1
    return ONE.replace(old, new)


def test_the_example_means_what_it_says() -> None:
    assert load(ONE) == MEANT


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
@given(cassettes())
def test_what_git_and_its_hooks_change_at_the_ends_of_lines_changes_nothing(cassette: Cassette) -> None:
    data = YAML.dumps(cassette)
    assert b"\r" not in data
    for changed in (data.replace(b"\n", b"\r\n"), b"".join(line.rstrip() + b"\n" for line in data.splitlines())):
        assert load(changed) == load(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("aquila: 1\n", "# a note\naquila: 1   # and another\n\n"),
        ("json:\n      model: m\n      n: 1", 'json: {"model": "m", n: 1}'),
        ("method: POST", 'method: "POST"'),
        ("method: POST", "'method': POST"),
        ("    url: https://api.example/v1/chat\n", "    url:\n      https://api.example/v1/chat\n"),
        ("status: 200", "status:   200"),
        ("text: |-\n        a\n        b", r'text: "a\nb"'),
        ("text: |-\n        a\n        b", "text: 'a\n\n        b'"),
        ("text: |-\n        a\n        b", "text: !!str |-\n        a\n        b"),
        (ONE[24:-4], ONE[24:-4].replace("\n  ", "\n    ").replace("- request", "-   request")),
        ("started: 5, ended: 20", "ended: 20, started: 5"),
        (
            "{at: 2026-11-24T10:00:00Z, started: 5, ended: 20}",
            "\n    ended: 20\n    started: 5\n    at: 2026-11-24T10:00:00Z",
        ),
        ("ended: 20}", "ended: 20, headers: {}}"),
        ("\n...\n", "\n...\n\n"),
        ("aquila: 1\n", "---\naquila: 1\n"),
        (ONE, ONE.replace("\n", "\r\n")),
    ],
)
def test_a_cassette_may_be_edited_as_any_yaml(old: str, new: str) -> None:
    assert load(changed(old, new)) == MEANT


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("status: 200", "status: &a 200", 11, "anchor &a"),
        ("status: 200", "status: *a", 11, r"alias \*a"),
        ("model: m", "model: !!python/object/apply:os.system [true]", 7, "python/object"),
        ("model: m", "model: !secret m", 7, "!secret"),
        ("model: m", "model: !!binary aGk=", 6, "binary"),
        ("model: m", "!!str model: m", 7, "a tag or an anchor on a key"),
        ("json:\n      model: m", "json: !!map\n      model: m", 6, "yaml.org,2002:map"),
        ("model: m", "model: m\n      model: n", 8, "'model' occurs twice"),
        ("model: m", "[model]: m", 7, "a key that is not text"),
        ("model: m", "{a: b}: m", 7, "a key that is not text"),
        ("model: m", "model: 'm", 19, "not YAML"),
        ("model: m", "model: m\n     n: 2", 8, "not YAML"),
        ("model: m", "\tmodel: m", 7, "not YAML"),
        ("model: m", "model: m\x01", 7, "not YAML"),
        ("status: 200", "status: ok", 11, "'status' must be a whole number"),
        ("status: 200", "status: -1", 11, "'status' must be a whole number"),
        ("status: 200", "status: 1e3", 11, "'status' must be a whole number"),
        ("status: 200", "status:", 11, "'status' must be a whole number"),
        ("status: 200", "status: 9999999999999999", 11, "'status' must be a whole number"),
        ("    status: 200\n", "", 10, "'status' is missing"),
        ("    method: POST\n", "", 3, "'method' is missing"),
        ("method: POST", "method: null", 4, "'method' must be text"),
        ("method: POST", "method: [POST]", 4, "'method' must be text"),
        ("https://", "https://me:secret@[::1/", 5, "'url' is no URL"),
        (RESPONSE, "begun: 5\n    " + RESPONSE, 14, "unknown key 'begun'"),
        (RESPONSE, "end: soon\n    " + RESPONSE, 14, "'end' must be one of complete, closed, broken"),
        (RESPONSE, "end: [broken]\n    " + RESPONSE, 14, "'end' must be one of"),
        (RESPONSE, "error: {}\n    " + RESPONSE, 14, "'error' must be text"),
        ("  recorded: {at: 2026", "  extra: {at: 2026", 9, "unknown key 'extra'"),
        ("content-type: application/json", "content-type: true", 13, "'content-type' must be text"),
        ("headers:\n      content-type: application/json", "headers: text", 12, "'headers' must be a mapping"),
        ("headers:\n      content-type: application/json", "headers:\n    - a", 13, "a header must be one name"),
        (RESPONSE, "base64: aGk=\n    " + RESPONSE, 14, "a body is given as 'json' and as 'base64'"),
        (RESPONSE, "json_style: pretty\n    " + RESPONSE, 14, "no style of JSON: 'pretty'"),
        (RESPONSE, "json_literals: []\n    " + RESPONSE, 14, "'json_literals' must be a mapping"),
        (RESPONSE, "json_literals:\n      /nowhere: '\"x\"'\n    " + RESPONSE, 14, "no string at '/nowhere'"),
        ("started: 5", "chunks: 5:1000 7", 9, "more events than the 1 of the body|have 1000 bytes"),
        ("started: 5", "chunks: 5:10 7:2", 9, "the chunks have 12 bytes, the body 24"),
        ("started: 5", "chunks: 5 7", 9, "the chunks have more events than the 1 of the body"),
        ("started: 5", "chunks: 5x2", 9, "the chunks have more events than the 1 of the body"),
        ("started: 5", "chunks: 5x0", 9, "more events"),
        ("started: 5", "chunks: 5:10", 9, "the chunks have 10 bytes, the body 24"),
        ("started: 5", "chunks: soon", 9, "'chunks' must be times with events or bytes"),
        ("started: 5", "chunks: 5  7", 9, "'chunks' must be times with events or bytes"),
        ("started: 5", "chunks: ''", 9, "'chunks' must be times with events or bytes"),
        ("  recorded:", "  kind: [a]\n  recorded:", 9, "'kind' must be text"),
        ("started: 5", "begun: 5", 9, "unknown key 'begun'"),
        ("started: 5", "started: soon", 9, "'started' must be a whole number"),
        ("at: 2026-11-24T10:00:00Z", "at: []", 9, "'at' must be text"),
        (
            "{at: 2026-11-24T10:00:00Z, started: 5, ended: 20}",
            "2026-11-24T10:00:00Z",
            9,
            "'recorded' must be a mapping",
        ),
        ("status: 200", "status: 99999", 11, "'status' must be from 100 to 599"),
        ("status: 200", "status: 600", 11, "'status' must be from 100 to 599"),
        ("status: 200", "status: 99", 11, "'status' must be from 100 to 599"),
        ("method: POST", "method: POST\n    json_style: spaced", 5, "unknown key 'json_style'"),
        (RESPONSE, "body_file: sha256-00\n    " + RESPONSE, 14, "a body is given as 'json' and as 'body_file'"),
        ("started: 5", "chunks: []", 9, "'chunks' must be text"),
        (RESPONSE, "layouts: {}\n    events: x\n    " + RESPONSE, 16, "'json' does not go with 'events'"),
        ("  response:\n", "  response: []\n  more:\n", 11, "unknown key 'more'"),
        ("interactions:\n", "interactions: 5\nmore:\n", 3, "unknown key 'more'"),
        ("aquila: 1", "aquila: 0", 1, "there is no such format"),
        ("aquila: 1", "aquila: one", 1, "'aquila' must be a whole number"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(CassetteCorrupt, match=message) as caught:
        load(changed(old, new))
    assert f"demo.yaml, line {line}: " in str(caught.value)
    assert "Correct it, restore the file, or delete it and record again" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("\n# nothing\n", "line 1: the file is empty"),
        ("...\n", "line 1: not YAML"),
        ("[]", "line 1: not a cassette"),
        ("text", "line 1: not a cassette"),
        ("{}", "line 1: not a cassette"),
        ("a: 1\n", "line 1: not a cassette: the line 'aquila: 1' at the top is missing"),
        ("aquila: 1\n", "'interactions' must be a list"),
        ("aquila: 1\ninteractions: []\n", "line 3: the file is cut off"),
        ("aquila: 1\ninteractions: []\n...\na: 1\n", "line 4: not YAML"),
        ("aquila: 1\ninteractions: []\n---\na: 1\n...\n", "line 3: a second document"),
        ("\ufeffaquila: 1\ninteractions: [1]\n...\n", "an interaction must be a mapping"),
        (b"aquila: \xff\n", "line 1: not YAML"),
        ("aquila: 1\ninteractions:\n\x00", "line 3: not YAML"),
        ("\x1b[31m", "line 1: not YAML"),
        (
            f"<<<<<<< ours\n{ONE}||||||| base\n=======\n{ONE}>>>>>>> theirs\n",
            "line 1: git conflict: two branches .* --ours ",
        ),
        (
            ONE.replace("- request", "<<<<<<< ours\n- request"),
            "line 3: '<<<<<<<' of a git .* left here. Delete what .* merge ",
        ),
        (ONE.replace("  recorded", "=======\r\n  recorded"), "line 9: '=======' of a git conflict is left here. "),
        (
            ONE.replace("  response", "=======\n  response").replace("...", "...\n>>>>>>> theirs"),
            "line 10: '=======' of a git conflict is left here, and so is '>>>>>>>' in line 21. ",
        ),
        ("interactions: []\nversion: 1\n>>>>>>> theirs\n", "line 3: '>>>>>>>' of a git conflict is left here. "),
        ("interactions: []\nname: x\n=======\n", "line 4: not YAML"),  # perhaps an underline
    ],
)
def test_a_file_that_is_no_cassette_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(CassetteCorrupt, match=message):
        load(text)


@pytest.mark.parametrize("text", [ONE, ONE[:-4], ONE.replace("url:", "uri:"), ""])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(CassetteCorrupt, match=r"^demo.yaml: the file is UTF-16, .*git restore --source REVISION demo"):
        load(f"\ufeff{text}".encode(encoding))


@pytest.mark.parametrize(
    "data",
    [b"<<<<<<< ours\n", b"<<<<<<< ours\n=======\n>>>>>>> theirs\n", f"\ufeff{ONE}".encode("utf-16-le")],
    ids=["rest of a conflict", "conflict", "UTF-16"],
)
def test_commands_of_git_can_be_typed_whatever_the_name_of_the_file(data: bytes) -> None:
    source = "my project/it's.yaml"
    with pytest.raises(CassetteCorrupt) as refused:
        codec_for(Path("x.yaml")).loads(data, source=source)
    commands = re.findall(r"git (?:checkout|add|restore) .*", str(refused.value))
    assert commands
    assert all(quote_word(source) in command for command in commands)


def test_a_byte_order_mark_changes_nothing() -> None:
    assert load(f"\ufeff{ONE}") == MEANT
    with pytest.raises(
        CassetteCorrupt, match=r"unknown key 'zzz'\. Correct it, restore the file, or delete it and record"
    ):
        load(f"\ufeff{ONE}".replace("interactions", "zzz"))


def test_a_file_that_is_cut_off_is_never_read_as_a_shorter_one() -> None:
    for size in range(0, len(ONE) - 1, 7):
        with pytest.raises(CassetteCorrupt):
            load(ONE[:size])


@pytest.mark.parametrize("more", ["", "  handshake: {}\n"])
def test_an_interaction_of_a_later_version_says_how_to_upgrade(more: str) -> None:
    said = r"line 3: written by a newer Aquila \(an interaction of the kind 'pigeon'\).*pip install --upgrade"
    with pytest.raises(CassetteTooNew, match=said):
        load(changed("- request:", f"- kind: pigeon\n{more}  request:"))


def test_a_newer_format_says_how_to_upgrade() -> None:
    with pytest.raises(CassetteTooNew, match=r"demo.yaml, line 1: written by a newer Aquila.*pip install --upgrade"):
        load(ONE.replace("aquila: 1", "aquila: 2").replace("method", "verb"))


BOMBS = {
    "aliases": "a: &a [x, x]\n" + "".join(f"k{i}: &k{i} [*{'a' if not i else f'k{i - 1}'}, *a]\n" for i in range(40)),
    "flow lists": "aquila: " + "[" * 200_000,
    "flow maps": "aquila: " + "{a: " * 100_000,
    "dashes": "- " * 200_000,
    "question marks": "? " * 100_000,
    "nested keys": "".join(f"{' ' * i}k:\n" for i in range(2000)),
    "an open quote": 'aquila: "' + "x" * 3_000_000,
    "an open block": "aquila: |\n  " + "x\n  " * 500_000,
    "a long key": "k" * 3_000_000 + ": 1",
    "colons": ": " * 500_000,
    "a long tag": "!<" + "x" * 1_000_000 + "> 1",
    "a long anchor": "&" + "x" * 1_000_000 + " 1",
    "many documents": "---\n" * 200_000,
    "directives": "%YAML 1.1\n" * 100_000,
    "tag directives": "".join(f"%TAG !{i}! !x\n" for i in range(3000)) + "---\n",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(kind: str) -> None:
    data = BOMBS[kind].encode()
    tracemalloc.start()
    try:
        with pytest.raises(CassetteCorrupt):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()


def test_a_value_may_be_as_deep_as_a_json_body_and_no_deeper() -> None:
    fits = "[" * 90 + "1" + "]" * 90
    assert load(changed("model: m", f"model: {fits}")).interactions[0].request.body.startswith(b'{"model":[[')
    with pytest.raises(CassetteCorrupt, match="line 7: more than 100 levels deep"):
        load(changed("model: m", f"model: {'[' * 100}1{']' * 100}"))


def test_a_file_too_large_for_a_cassette_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_BYTES", 100)
    with pytest.raises(CassetteCorrupt, match=r"demo.yaml has more than 100 bytes, the most for a cassette"):
        load("# " + "x" * 200)


@settings(
    max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(cassettes())
@pytest.mark.slow
def test_a_cassette_is_read_alike_without_libyaml(cassette: Cassette) -> None:
    data = YAML.dumps(cassette)
    with_libyaml = load(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "yaml._yaml", None)
        assert type(parser.open_event_parser(data)) is not type(CParser(data))
        assert load(data) == with_libyaml


@pytest.mark.parametrize(
    "text", [ONE.replace("status: 200", "status: *a"), ONE.replace("model: m", "model: 'm"), "a\x01"]
)
def test_a_mistake_is_told_without_libyaml_too(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml._yaml", None)
    with pytest.raises(CassetteCorrupt, match=r"demo.yaml, line \d+: (alias \*a|not YAML)"):
        load(text)


@pytest.mark.parametrize("width", [1, 3, 7])
def test_long_keys_take_the_explicit_form(width: int) -> None:
    headers = (("x" * (width * 300), "1"), ("y", "2"))
    cassette = Cassette((Interaction(RecordedRequest("GET", "https://a.example/", headers), RecordedResponse(200)),))
    assert load(YAML.dumps(cassette)) == cassette


def test_a_yaml_module_that_was_imported_twice_is_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser.yaml, "StreamEndEvent", type("StreamEndEvent", (), {}))  # another copy's class
    with pytest.raises(RuntimeError, match="imported a second time"):
        parser.load_tree(b"a: 1\n", source="x.yaml")


def test_threads_that_load_leave_the_garbage_collector_as_it_was_even_if_they_fail() -> None:
    def read() -> None:
        with pytest.raises(CassetteCorrupt):
            load("[" * 50_000)
        assert load(ONE) == MEANT

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for before in (True, False):
            (gc.enable if before else gc.disable)()
            run_at_once([read] * 6)
            assert gc.isenabled() is before
    finally:
        sys.setswitchinterval(interval)
        gc.enable()


def test_the_garbage_collector_is_paused_until_the_last_reader_leaves() -> None:
    with pause_garbage_collection():
        with pause_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_during_a_pause_has_its_garbage_collector() -> None:
    script = """
        import gc, os, threading
        from aquila.cassettes.codecs.gc_pause import pause_garbage_collection

        paused, forked = threading.Event(), threading.Event()

        def read():
            with pause_garbage_collection():
                paused.set()
                forked.wait()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        paused.wait()
        if (child := os.fork()) == 0:
            enabled_at_once = gc.isenabled()
            with pause_garbage_collection():
                pass
            os._exit(7 if enabled_at_once and gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert not gc.isenabled()
        forked.set()
        reader.join()
        assert gc.isenabled()
    """
    python = [sys.executable, "-W", "ignore::DeprecationWarning"]  # newer Pythons warn of a fork beside threads
    done = subprocess.run([*python, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "answer", [b'{"said":["word"]}', b'{\n  "said": [\n    "word"\n  ]\n}', b'data: {"said":["word"]}\n\n']
)
def test_a_load_leaves_nothing_that_only_the_garbage_collector_would_free(answer: bytes) -> None:
    request = RecordedRequest("POST", "https://api.example/", (("content-type", "application/json"),), b'{"asked":[1]}')
    response = RecordedResponse(200, (), (RecordedChunk(answer, 10),), started=5, ended=10)
    data = YAML.dumps(Cassette.from_interactions([Interaction(request, response, "2026-11-24T10:00:00Z")]))
    assert load(data).interactions[0].response.body == answer  # and what a first load imports is there
    gc.collect()
    gc.disable()
    try:
        load(data)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_load_takes_at_most_twice_the_file_beside_it() -> None:
    body = b'{"messages":[{"role":"user","content":"%d"},{"role":"system","content":"Answer in one word, please."}]}'
    answer = b'{"id":"x","choices":[{"message":{"role":"assistant","content":"%s"}}]}'
    headers = (("content-type", "application/json"),)
    data = YAML.dumps(
        Cassette.from_interactions(
            Interaction(
                RecordedRequest("POST", "https://api.example/v1/chat/completions", headers, body % number),
                RecordedResponse(200, headers, (RecordedChunk(answer % (b"word " * 60), 10),), started=5, ended=10),
                "2026-11-24T10:00:00Z",
            )
            for number in range(1000)
        )
    )
    tracemalloc.start()
    try:
        cassette = load(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
    finally:
        tracemalloc.stop()
    assert len(cassette.interactions) == 1000
