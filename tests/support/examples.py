"""How many examples the tests of hypothesis try."""

from hypothesis import settings

_IN_THE_WHOLE_SUITE = 100
"""What a test tries that names no number, as hypothesis has it."""
_AT_LEAST = 5


def examples(number: int) -> int:
    """``number`` where the whole suite runs; where the slow tests are left out, as many fewer as by default there."""
    share = settings().max_examples / _IN_THE_WHOLE_SUITE
    return min(number, max(_AT_LEAST, int(number * share)))
