"""Scripts as YAML files, whose keys are the names of the methods.

::

    # cassettes/scripts/weather.script.yaml
    script:
    - tool_call: {get_weather: {city: Rome}}
    - reply: It is 18 °C in Rome.
    - reply: {chunks: ["It ", is], first: 0.4, pace: 0.05}
    - when: {text: summarise, model: gpt-*}
      answers:
      - reply: {text: Short., usage: [12, 3]}
    unused: ignore
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from aquila.cassettes.codecs.yaml import conflict_marks, mistake_lines, parser
from aquila.cassettes.codecs.yaml.tree import Number, Tree, advice_for
from aquila.cassettes.storage.names import SCRIPT_SUFFIX
from aquila.errors import CassetteCorrupt, ConfigError
from aquila.scripting.replies import Replies
from aquila.scripting.script import Script, Unused
from aquila.spelling import find_nearest, suggest_name

_Path = tuple[str | int, ...]


def load_script(path: Path) -> Script:
    """Return the script in a file. Raises ``ConfigError``, which names the line of a mistake."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        near = find_similar_script(path)
        hint = f"; did you mean {near.name!r}?" if near else ""
        raise ConfigError(f"{path}: there is no such script{hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return read_script(data, source=str(path))


def find_similar_script(path: Path) -> Path | None:
    """Return the script beside a file that does not exist whose name is the most similar, if one is."""
    known = {each.name.removesuffix(SCRIPT_SUFFIX): each for each in path.parent.glob(f"*{SCRIPT_SUFFIX}")}
    near = find_nearest(path.name.removesuffix(SCRIPT_SUFFIX).removesuffix(".yaml"), known)
    return None if near is None else known[near]


def read_script(data: bytes, *, source: str) -> Script:
    """Return the script in the bytes of a file. ``source`` names the file in messages. Raises ``ConfigError``."""
    conflict = conflict_marks.find_conflict(data)
    if conflict is not None:
        raise ConfigError(f"{source}, line {conflict.line}: {conflict.what}")
    try:
        tree = parser.load_tree(data, source=source)
    except CassetteCorrupt as error:
        # The advice at the end is about cassettes, so it is cut off.
        raise ConfigError(str(error).removesuffix(f". {advice_for(data)}")) from error
    try:
        return _read_document(tree)
    except _Mistake as mistake:
        line = mistake_lines.line_of(data, mistake.path)
        raise ConfigError(f"{source}, line {line}: {mistake.what}") from (mistake.__cause__ or mistake)


class _Mistake(Exception):
    """A mistake in a file: ``what`` is wrong, and the ``path`` to it in the document."""

    def __init__(self, what: str, path: _Path) -> None:
        super().__init__(what)
        self.what = what
        self.path = path


def _read_document(tree: Tree) -> Script:
    if type(tree) is dict and "script" not in tree and ("aquila" in tree or "interactions" in tree):
        raise _Mistake(
            "this is a cassette and not a script. Name it where cassettes are named: @pytest.mark.aquila(NAME), "
            "cassette=NAME, `aquila serve --cassette NAME`",
            (),
        )
    if type(tree) is not dict or "script" not in tree:
        raise _Mistake("not a script: the key 'script' with a list of answers is missing", ())
    for name in tree:
        if name not in ("script", "unused"):
            raise _Mistake(f"unknown key {name!r}{suggest_name(name, ('script', 'unused'))}", (name,))
    script = Script()
    if "unused" in tree:
        unused = _plain(tree["unused"])
        if unused not in get_args(Unused):
            raise _Mistake(f"unused must be one of {', '.join(get_args(Unused))}", ("unused",))
        script.unused = unused
    for at, item in enumerate(_list_of(tree["script"], ("script",))):
        path: _Path = ("script", at)
        if type(item) is dict and "when" in item:
            _read_rule(script, item, path)
        else:
            _read_answer(script, item, path)
    return script


def _read_rule(script: Script, item: dict[str, Tree], path: _Path) -> None:
    conditions = _plain(item["when"])
    fields = conditions if isinstance(conditions, dict) else {"text": conditions}
    patterned = {
        name: _read_pattern(value, (*path, "when")) if name in ("text", "last", "system") else value
        for name, value in fields.items()
    }
    known = ("text", "last", "system", "model", "tool")
    for name in patterned:
        if name not in known:
            raise _Mistake(f"when: unknown condition {name!r}{suggest_name(name, known)}", (*path, "when"))
    rule = _call(lambda: script.when(**patterned), (*path, "when"))
    rest = {name: value for name, value in item.items() if name != "when"}
    if set(rest) == {"answers"}:
        if rest["answers"] == []:
            raise _Mistake("answers must hold an answer, as in 'reply: Hello'", (*path, "answers"))
        for at, answer in enumerate(_list_of(rest["answers"], (*path, "answers"))):
            _read_answer(rule, answer, (*path, "answers", at))
    else:
        _read_answer(rule, rest, path)


def _read_pattern(value: Any, path: _Path) -> Any:
    if isinstance(value, str) and len(value) > 2 and value[0] == value[-1] == "/":
        try:
            return re.compile(value[1:-1])
        except re.error as error:
            raise _Mistake(f"{value} is no pattern: {error}", path) from error
    return value


def _read_answer(replies: Replies, item: Tree, path: _Path) -> None:
    for word in item if type(item) is dict else ():
        if word not in _WORDS:
            known = tuple(_WORDS) if len(item) == 1 else (*_WORDS, "when", "answers")
            raise _Mistake(f"unknown answer {word!r}{suggest_name(word, known)}", (*path, word))
    if type(item) is not dict or len(item) != 1:
        raise _Mistake("an answer is one word and what it takes, as in 'reply: Hello'", path)
    ((word, value),) = item.items()
    _call(lambda: _WORDS[word](replies, _plain(value)), (*path, word))


def _call(write: Callable[[], Any], path: _Path) -> Any:
    try:
        return write()
    except (ConfigError, TypeError) as error:  # a wrong word, or a wrong value
        # Python writes "Replies.reply() got an unexpected …"; the class means nothing to the author of a file.
        raise _Mistake(re.sub(r"^\w+\.(?=\w+\()", "", str(error)), path) from error


def _write_with(name: str) -> Callable[[Replies, Any], Any]:
    """Return a function that calls the method ``name`` with a mapping's fields, a list's items, or one value."""

    def write(replies: Replies, value: Any) -> Any:
        method = getattr(replies, name)
        if isinstance(value, dict):
            if "tool_calls" in value:
                value = {**value, "tool_calls": _read_calls(value["tool_calls"])}
            known = inspect.signature(method).parameters
            for field in value:
                if field not in known:
                    raise ConfigError(f"{name}: unknown field {field!r}{suggest_name(field, known)}")
            return method(**value)
        return method(*value) if isinstance(value, list) else method(value)

    return write


def _write_embed(replies: Replies, value: Any) -> Any:
    return replies.embed(*(value if isinstance(value, list) and value and isinstance(value[0], list) else [value]))


def _read_calls(value: Any) -> list[Any]:
    """Return tool calls that are written as a mapping of names to arguments, or as a list of such mappings."""
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in mappings):
        raise ConfigError("a tool call is a name and its arguments, as in {get_weather: {city: Rome}}")
    return [(name, {} if given is None else given) for each in mappings for name, given in each.items()]


_WORDS: Mapping[str, Callable[[Replies, Any], Any]] = {
    **{name: _write_with(name) for name in ("reply", "refuse", "reasoning", "models", "token_count", "error")},
    "embed": _write_embed,
    "tool_call": lambda replies, value: replies.tool_calls(*_read_calls(value)),
    "tool_calls": lambda replies, value: replies.tool_calls(*_read_calls(value)),
}
"""The keys of an answer, each with the function that writes it."""


def _list_of(tree: Tree, path: _Path) -> list[Tree]:
    if type(tree) is not list:
        raise _Mistake(f"{path[-1]} must be a list of answers", path)
    return tree


def _plain(tree: Tree) -> Any:
    """Return the plain value of a tree, in which numbers are still texts."""
    if isinstance(tree, Number):
        # A number of more digits becomes infinite, which every method refuses. `int` raises for thousands of digits.
        return int(tree) if re.fullmatch(r"-?\d{1,300}", tree) else float(tree)
    if isinstance(tree, dict):
        return {name: _plain(value) for name, value in tree.items()}
    return [_plain(each) for each in tree] if isinstance(tree, list) else tree
