"""Texts with wildcards: compared as a regular expression would."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from aquila.wildcards import fits_pattern


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
@example("*", "")
@example("a*a", "a")
@example("ab*ba", "aba")
@example("*ab*ab", "abab")
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    expression = re.escape(pattern).replace(r"\*", ".*")
    assert fits_pattern(text, pattern) == (re.fullmatch(expression, text) is not None)
