"""Shows the stacks of all threads where a test hangs.

pytest's own ``faulthandler_timeout`` starts a thread for each test and waits for its end, which takes longer than many
a test. Here one thread watches the tests of some seconds.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Generator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key, get_timeout_config_value

_HANGS_AFTER = 240
"""Seconds that no test takes."""

_WATCHES_FOR = 5
"""Seconds for which one thread watches; the tests that begin in them are watched so much longer."""

_WATCHED_SINCE = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    config, now = item.config, time.monotonic()
    # With `-o faulthandler_timeout=` the run has a limit of its own.
    if now - config.stash.get(_WATCHED_SINCE, float("-inf")) > _WATCHES_FOR and not get_timeout_config_value(config):
        faulthandler.dump_traceback_later(_HANGS_AFTER + _WATCHES_FOR, file=config.stash[fault_handler_stderr_fd_key])
        config.stash[_WATCHED_SINCE] = now
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    faulthandler.cancel_dump_traceback_later()
