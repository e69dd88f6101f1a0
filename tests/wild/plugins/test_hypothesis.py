import pytest
from app import ask
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.aquila


@settings(derandomize=True, max_examples=8, deadline=None, database=None)
@given(st.integers(0, 3))
def test_answers(number):
    assert ask(f"hypothesis {number}") == f"about hypothesis {number}"
