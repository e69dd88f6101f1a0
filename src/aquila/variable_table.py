"""The environment variables that are not settings, as the documentation lists them. See ``option_table``."""

from __future__ import annotations

from collections.abc import Mapping


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
    "AQUILA_SESSION": Variable(
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
