"""The environment variables that are not settings, and those that look like settings but are none.

``option_parsing`` has the variables of settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from aquila.option_parsing import OPTIONS
from aquila.spelling import suggest_name


class Variable:
    """An environment variable that is not a setting. ``page`` is the page of the documentation that explains it.

    ``is_internal`` says that Aquila sets it itself, for its own processes.
    """

    __slots__ = ("help", "is_internal", "page")

    def __init__(self, help: str, page: str, *, is_internal: bool = False) -> None:
        self.help = help
        self.page = page
        self.is_internal = is_internal


VARIABLES: Mapping[str, Variable] = {
    "AQUILA_JOBS_TOKEN": Variable(
        "the token of `aquila jobs`, without which nothing is shown; otherwise one is made where it is needed",
        "jobs.md",
    ),
    "AQUILA_SERVER_TOKEN": Variable(
        "the token that clients of `aquila serve` must send; without it, one is made and needed only for the server's "
        "own key",
        "server.md",
    ),
    "AQUILA_UNDER_TEST": Variable("`1` lets a worker that no test has started take part in tests", "huey.md"),
    "AQUILA_RUN": Variable(
        "set by Aquila: tells a child process the settings of the run and the scope to join",
        "any-client.md",
        is_internal=True,
    ),
    "AQUILA_QUEUES": Variable(
        "set by Aquila: tells a child process of a run in testing mode for which Hueys it may enqueue",
        "huey.md",
        is_internal=True,
    ),
}
"""Every environment variable of Aquila that does not belong to a setting."""

_PREFIX = "AQUILA_"
_OF_OWN_TESTS = ("CORPUS", "FUZZ")
_OF_OWN_TESTS_PREFIXES = ("BENCH_", "SUBJECT")
"""What follows the prefix in the names of variables of this project's tests and benchmarks."""


def find_unknown_variables() -> Iterator[str]:
    """Yield a sentence for each environment variable that looks like a setting of Aquila but is none.

    Without it, a misspelt variable would be ignored in silence.
    """
    settings = {option.env for option in OPTIONS.values() if option.env}
    for name in sorted(os.environ):
        inner = name.removeprefix(_PREFIX)
        is_of_own_tests = inner in _OF_OWN_TESTS or inner.startswith(_OF_OWN_TESTS_PREFIXES)
        if inner != name and name not in settings and name not in VARIABLES and not is_of_own_tests:
            yield f"the environment variable {name} is not one that Aquila knows{suggest_name(name, settings)}"
