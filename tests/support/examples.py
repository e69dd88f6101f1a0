"""The number of examples that a hypothesis test tries."""

from hypothesis import settings

_IN_THE_WHOLE_SUITE = 100
"""The default of hypothesis for a test that names no number."""
_AT_LEAST = 5


def examples(number: int) -> int:
    """Return ``number`` if the whole suite runs. Without slow tests, return the same share of it as of the default."""
    share = settings().max_examples / _IN_THE_WHOLE_SUITE
    return min(number, max(_AT_LEAST, int(number * share)))
