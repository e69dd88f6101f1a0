"""The command that records tests again, short enough for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aquila.shell_words import join_words

_MOST_TESTS = 10


def record_command(
    tests: Sequence[str], width: int, *, just_failed: bool = False, option: str = "--aquila-record"
) -> str:
    """Return a command that records some tests again: with their ids, with their files, or of all tests.

    It is the first of these that is at most ``width`` characters long. ``just_failed`` says that pytest knows these
    tests as those that failed last. ``option`` is the one that records.
    """
    *choices, last = [f"{chosen} {option}" for chosen in _choices_for(tests, just_failed=just_failed)]
    return next((command for command in choices if len(command) <= width), last)


def _choices_for(tests: Sequence[str], *, just_failed: bool) -> Iterator[str]:
    if len(tests) <= _MOST_TESTS:
        yield f"pytest {join_words(tests)}"
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    if len(files) <= _MOST_TESTS:
        yield f"pytest {join_words(files)}"
    if just_failed:
        yield "pytest --lf"
    yield "pytest"
