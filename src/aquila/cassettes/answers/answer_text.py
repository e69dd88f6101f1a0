"""The text of an answer, for people who read a cassette or a report. A replay uses the bytes, and never this text.

A tool call is shown as ``name(arguments)`` on a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from aquila.cassettes.answers import answer_content
from aquila.cassettes.model import Interaction

LONGEST = 2000
"""The most characters of the text beside an answer in a cassette. A longer text is cut."""


def text_of_answer(body: bytes) -> str:
    """Return the text of an answer, streamed or not; an empty string if it has none or is of an unknown kind."""
    return _join(_pieces(answer_content.read_answer(body)))


def summary_of_stream(body: bytes) -> str:
    """Return the text of an answer that was streamed, cut by ``cut_summary``; an empty string for any other answer."""
    if _is_one_object(body):
        return ""
    # Twice as many, because two halves of a surrogate pair become one character.
    return cut_summary(_join(_pieces(answer_content.read_beginning(body, 2 * LONGEST + 2))))


def text_of_messages(messages: Iterable[bytes]) -> str:
    """Return the text of a provider's messages over a WebSocket; an empty string if they are of an unknown kind."""
    return _join(_pieces(answer_content.read_provider_messages(messages)))


def join_texts(pieces: Iterable[str]) -> str:
    """Join the pieces of a text as valid Unicode.

    A provider may split a surrogate pair over two pieces: its halves become one character. A half without its pair is
    replaced.
    """
    text = "".join(pieces)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def status_of(interaction: Interaction) -> str:
    """Return the status of an answer, and how it ended if it is not complete: ``200``, ``200 broken``."""
    response = interaction.response
    status = str(response.status) if response.has_begun else "no answer,"
    return status if response.end == "complete" else f"{status} {response.end}"


def cut_summary(text: str) -> str:
    """Return the first ``LONGEST`` characters of a text. The cassette has the whole text in the answer's own bytes."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _is_one_object(body: bytes) -> bool:
    if body.lstrip()[:1] != b"{":
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        # JSON lines are a stream, an object that was cut off is none.
        return not (isinstance(error, json.JSONDecodeError) and error.msg == "Extra data")
    return True


def _pieces(content: answer_content.AnswerContent) -> Iterator[str]:
    for choice in content.choices.values():
        if choice.text or choice.calls:
            yield "\n"
        told = 0
        for number, call in enumerate(choice.calls.values()):
            if number and call.after > told:
                yield "\n"
            yield from choice.text[told : call.after]
            told = call.after
            yield f"\n{call.name}({''.join(call.arguments)})"
        if choice.calls and told < len(choice.text):
            yield "\n"
        yield from choice.text[told:]


def _join(pieces: Iterable[str]) -> str:
    return join_texts(pieces).lstrip("\n")
