"""Hypothesis strategies: let it look for the fault, the stream or the answer that breaks a program.

::

    @given(fault=strategies.faults("chat/hello"))
    def test_the_program_survives(fault):
        with aquila.use_cassette("chat/hello", faults=fault):
            run_program()

A failing example ends in a line that can be pasted above a test: ``@pytest.mark.aquila("chat/hello", faults="...")``.
Strategies shrink to the simplest fault. They need ``hypothesis``: ``pip install 'aquila-llm[hypothesis]'``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import cassette_path
from aquila.errors import CassetteRequired
from aquila.faults.fault import FaultKind, ImpossibleFault, Value, make_fault
from aquila.faults.parsing import read_faults
from aquila.faults.table import FAULTS
from aquila.optional import import_optional
from aquila.recording import runtime

if TYPE_CHECKING:
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
else:
    hypothesis = import_optional("hypothesis", "hypothesis", purpose="aquila.testing.strategies")
    st = hypothesis.strategies

__all__ = ["faults", "replies", "streams"]

_SAME_CONTENT = ("one_piece", "split_events", "one_byte", "other_chunks")
"""The faults that change neither a byte nor their order, the simplest first."""
_SLOW = ("slow",)
_MOST = 20
"""The largest number that is tried for an event, and the largest size of a chunk."""


def faults(cassette: str, *, among: Sequence[str] | None = None) -> SearchStrategy[str]:
    """Return faults, as text, that some answer of a cassette can have.

    ``cassette`` is a name or the path of a file. ``among`` are the names of the faults that are tried; None stands for
    all faults that take no real time. Raises ``CassetteRequired`` for a cassette without recordings, and
    ``ConfigError`` for an unknown name.

    Examples:
        >>> from hypothesis import find
        >>> from aquila.testing import strategies
        >>> with aquila.use_cassette("eagles", transport="record"):
        ...     answer = aquila.ask("How do eagles fly?")
        >>> find(strategies.faults("eagles", among=["cut_stream", "timeout"]), lambda fault: "cut" in fault)
        'cut_stream'
    """
    names = [name for name in FAULTS if name not in _SLOW] if among is None else list(among)
    return _possible_faults(cassette, [_kind_of(name) for name in names])


def streams(cassette: str) -> SearchStrategy[str]:
    """Return faults, as text, under which the streams of a cassette have the same content in other chunks.

    ``cassette`` and errors are as for ``faults``. A program that fails under one depends on how a stream is cut.

    Examples:
        >>> from hypothesis import find
        >>> from aquila.testing import strategies
        >>> with aquila.use_cassette("eagles", transport="record"):
        ...     answer = aquila.ask("How do eagles fly?")
        >>> find(strategies.streams("eagles"), lambda fault: True)
        'one_piece'
    """
    return _possible_faults(cassette, [_kind_of(name) for name in _SAME_CONTENT])


@st.composite
def _draw_fault(draw: st.DrawFn, kinds: Sequence[FaultKind]) -> tuple[FaultKind, dict[str, Any]]:
    kind = draw(st.sampled_from(kinds))
    given: dict[str, Any] = {}
    for name, types in kind.types.items():
        value = draw(st.one_of(st.none(), _values_of(name, types)))
        if value is not None:
            given[name] = value
    times = draw(st.sampled_from((1, 2, None)))
    return kind, given if times == 1 else {**given, "times": times}


def _values_of(name: str, types: Sequence[type]) -> SearchStrategy[Value]:
    if name == "sizes":
        return st.lists(st.integers(1, _MOST), min_size=1, max_size=4).map(lambda sizes: ",".join(map(str, sizes)))
    if name == "status":
        return st.sampled_from((500, 502, 504))
    if name == "form":
        return st.sampled_from(("seconds", "date", "milliseconds", "reset"))
    if name in ("retry_after", "seconds", "after_seconds"):
        return st.sampled_from((0, 0.001))
    if int in types:
        return st.integers(1, _MOST)
    return st.just("another") if str in types else st.none()


def _possible_faults(cassette: str, kinds: Sequence[FaultKind]) -> SearchStrategy[str]:
    interactions = _load(cassette)

    def make(drawn: tuple[FaultKind, dict[str, Any]]) -> str | None:
        fault = make_fault(*drawn)
        for interaction in interactions:
            try:
                fault.change(interaction)
            except ImpossibleFault:
                continue
            return str(fault)
        return None

    possible = _draw_fault(kinds).map(make).filter(lambda text: text is not None)
    return possible.map(lambda text: _noted(cassette, text or ""))


def _noted(cassette: str, text: str) -> str:
    """Return the text of a fault, and add its marker to the output of a failing example."""
    hypothesis.note(f'@pytest.mark.aquila("{cassette}", faults={json.dumps(text)})')
    return text


def _kind_of(name: str) -> FaultKind:
    return read_faults(name)[0].kind


def _load(cassette: str) -> Sequence[Interaction]:
    path = Path(cassette)
    if not path.is_file():
        path = cassette_path(runtime.current_settings().cassette_root(), cassette)
    interactions = cassette_files.load_cassette_or_empty(path).interactions
    if not interactions:
        raise CassetteRequired(f"{path} has no recordings to make faults of; record it first")
    return interactions


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


def replies(*, tools: Sequence[str] = ()) -> SearchStrategy[dict[str, Any]]:
    """Return answers that a model may give, as the arguments of ``reply``: ``script.reply(**answer)``.

    An answer has any text, empty or long, in any script of the world. It may have reasoning, and any reason for its
    end. If ``tools`` are given, it has calls of these tools, whose arguments are any JSON object.

    Examples:
        >>> from hypothesis import find
        >>> from aquila.testing import strategies
        >>> find(strategies.replies(tools=["look_up"]), lambda answer: answer["tool_calls"])
        {'text': '', 'tool_calls': [('look_up', {})]}
    """
    fields: dict[str, SearchStrategy[Any]] = {"text": _TEXTS}
    if tools:
        arguments = st.dictionaries(_TEXTS, _JSON, max_size=3)
        fields["tool_calls"] = st.lists(st.tuples(st.sampled_from(list(tools)), arguments), max_size=3)
    return st.fixed_dictionaries(
        fields, optional={"reasoning": _TEXTS, "finish": st.sampled_from(("stop", "length", "content_filter"))}
    )
