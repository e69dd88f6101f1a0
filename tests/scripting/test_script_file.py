"""Scripts in files: they have the words of the calls, and an error names its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aquila.errors import ConfigError
from aquila.scripting.script import Script
from aquila.scripting.script_file import load_script, read_script

WHOLE = """\
script:
- tool_call: {get_weather: {city: Rome, days: 2}}
- tool_calls: [{f: '{"broken'}, {f: null}]
- reply: It is 18 °C in Rome.
- reply: {chunks: ["It ", is], first: 0.4, pace: 0.05}
- reply: {json: {a: [1, 2.5, null, true]}}
- reply: {text: x, tool_calls: {f: {a: 1}}, usage: [12, 3], headers: {x-id: a}, times: 2}
- reasoning: Let me think.
- refuse: "no"
- when: {text: summarise, model: gpt-*}
  answers:
  - reply: Short.
  - error: {status: 429, retry_after: 1.5, times: 2}
- when: /\\d+/
  reply: A number.
- embed: [0.1, 0.2]
- embed: [[0.1], [0.2]]
- models: [a, b]
- token_count: 12
- error: 503
unused: ignore
"""


def test_a_file_makes_the_same_script_as_the_calls() -> None:
    script = Script()
    script.tool_call("get_weather", city="Rome", days=2).tool_calls(("f", '{"broken'), ("f", {}))
    script.reply("It is 18 °C in Rome.").reply(chunks=["It ", "is"], first=0.4, pace=0.05)
    script.reply(json={"a": [1, 2.5, None, True]})
    script.reply("x", tool_calls=[("f", {"a": 1})], usage=(12, 3), headers={"x-id": "a"}, times=2)
    script.reasoning("Let me think.").refuse("no")
    script.when("summarise", model="gpt-*").reply("Short.").error(429, retry_after=1.5, times=2)
    script.when(re.compile(r"\d+")).reply("A number.")
    script.embed([0.1, 0.2]).embed([0.1], [0.2]).models("a", "b").token_count(12).error(503)
    read = read_script(WHOLE.encode(), source="x")
    assert read.unused == "ignore"
    assert read._queue == script._queue
    assert [(rule.conditions, rule.answers) for rule in read._rules] == [
        (rule.conditions, rule.answers) for rule in script._rules
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("- 1", 1, "not a script"),
        ("aquila: 1\ninteractions: []", 1, "this is a cassette and not a script"),
        ("script:\n- reply: a\nscript:\n- reply: b", 3, "key 'script' occurs twice"),
        ("unused: fail\nscript: []\nunused: ignore", 3, "key 'unused' occurs twice"),
        ("script:\n- reply: {text: a, text: b}", 2, "key 'text' occurs twice"),
        ("script: 3", 1, "must be a list"),
        ("script:\n- repl: x", 2, "did you mean 'reply'"),
        ("script:\n- whne: x\n  reply: y", 2, "unknown answer 'whne'; did you mean 'when'"),
        ("script:\n- when: x\n  answer: [reply: y]", 3, "unknown answer 'answer'"),
        ("script:\n- reply: x\n- reply: {txt: x}", 3, "reply: unknown field 'txt'; did you mean 'text'"),
        ("script:\n- reply: x\n- when: {foo: x}\n  reply: y", 3, "unknown condition 'foo'"),
        ("script:\n- when: x\n  answers: [reply: a, repl: b]", 3, "did you mean 'reply'"),
        ("script:\n- when: x", 2, "an answer is one word"),
        ("script:\n- when: x\n  answers: []", 3, "must hold an answer"),
        ("script:\n- reply: {chunks: abc}", 2, "must be a list of texts"),
        ("script:\n- {reply: a, error: 429}", 2, "an answer is one word"),
        ("script:\n- error: 200", 2, "from 400 to 599"),
        ("script:\n- reply: 5", 2, "must be a text"),
        ("script:\n- tool_call: weather", 2, "a name and its arguments"),
        ("script: []\nunused: x", 2, "unused must be one of"),
        ("script: []\nunsued: x", 2, "did you mean 'unused'"),
        ("script:\n- when: /(/\n  reply: x", 2, "no pattern"),
        ("a: ]", 1, "not YAML"),
        ("script:\n- reply: a\n>>>>>>> theirs", 3, "'>>>>>>>' of a git conflict is left here"),
        pytest.param(f"script:\n- token_count: {'1' * 5000}", 2, "must be a number", id="5000 digits"),
        pytest.param(f"script:\n- embed: [[{'1' * 400}]]", 2, "lists of numbers", id="400 digits"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"^f.yaml, line {line}: .*{re.escape(what)}"):
        read_script(text.encode(), source="f.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.script\.yaml: there is no such script$"):
        load_script(tmp_path / "x.script.yaml")
    (tmp_path / "weather.script.yaml").touch()
    with pytest.raises(ConfigError, match=r"did you mean 'weather\.script\.yaml'"):
        load_script(tmp_path / "wether.script.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_script(tmp_path)
