"""The command of a run, in the form that its report shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from aquila.recording.secrets import outgoing
from aquila.typed_words import join_words

_NAME = r"-{0,2}[\w.-]*(?:key|token|secret|password|passwd|credential)[\w.-]*"
_WITH_VALUE = re.compile(rf"({_NAME}=).+", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(rf"--?(?!-){_NAME}", re.IGNORECASE)
_MASK = "[redacted]"


def describe_command(arguments: Sequence[str]) -> str:
    """Return the command line of pytest without secrets: values of options with names such as ``key`` are masked."""
    return outgoing.redact_outgoing(join_words(["pytest", *_mask(arguments)]))


def _mask(arguments: Sequence[str]) -> Iterator[str]:
    is_value = False
    for argument in arguments:
        if is_value and not argument.startswith("-"):
            yield _MASK
        else:
            yield _WITH_VALUE.sub(rf"\1{_MASK}", argument) if _WITH_VALUE.fullmatch(argument) else argument
        is_value = argument.startswith("-") and _OPTION.fullmatch(argument) is not None
