"""Which of Aquila's own lines and of the names of tests are searched for secrets at all."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import aquila
from aquila.recording.secrets import outgoing

_LOGGER = re.compile(r'getLogger\("([\w.]+)"\)')
_A_LONG_WORD_WITH_A_DIGIT = re.compile(r"(?=[\w-]*[0-9])[\w-]{16}", re.ASCII)


@given(st.text("ab7-. ", max_size=40))
@example("a" * 15 + "7")
@example("7" + "a" * 15)
@example("7" + "a" * 14)
@example("a" * 300 + "7")
def test_a_word_of_sixteen_characters_with_a_digit_may_be_a_secret(text: str) -> None:
    assert outgoing._may_hold_secret(text) == (_A_LONG_WORD_WITH_A_DIGIT.search(text) is not None)


def test_no_logger_of_aquila_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    files = Path(aquila.__file__).parent.rglob("*.py")
    names = {name for file in files for name in _LOGGER.findall(file.read_text("utf-8"))}
    assert names
    for name in names:
        try:
            raise OSError("redis://jobs:eagle-4711-owl@queue")
        except OSError as error:
            logging.getLogger(name).warning("cannot reach %s", error, exc_info=True)
    assert [each.getMessage() for each in caplog.records] == ["cannot reach redis://[redacted]@queue"] * len(names)
    assert all(str(each.exc_text).endswith("OSError: redis://[redacted]@queue") for each in caplog.records)
    assert not any(each.exc_info for each in caplog.records)
