"""Asks for every answer of the table with some clients, and prints what they saw as JSON.

``python -m tests.intercept.raw_answers.program MODE URL CLIENTS``: MODE is ``plain``, for no Aquila, or a transport.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tests.intercept.raw_answers.answers import CASES, Case
from tests.intercept.raw_answers.clients import CLIENTS, POSTING, Seen
from tests.support.authorities import share_authorities


def watch(ask: Callable[[str, Case], Seen], url: str, row: Case) -> Seen:
    """What a client sees of a case, what it warns of, and what is left open behind it."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        seen: Seen = {}
        try:
            seen = ask(url, row)
        except BaseException as error:  # noqa: BLE001 - a miss is none that an `except Exception` catches
            seen["outcome"] = f"{type(error).__name__}: {error}"
        gc.collect()
        gc.freeze()  # what is left lives as long as the cassette, and need not be looked through each time
    said = sorted({f"{each.category.__name__}: {each.message}" for each in warned})
    return seen | ({"warnings": said} if said else {})


def block_of(mode: str, name: str) -> AbstractContextManager[Any]:
    """The block in which a client asks."""
    if mode == "plain":
        return contextlib.nullcontext()
    import aquila

    # Failures that a client overcomes are kept, since a replay would hide them.
    return aquila.use_cassette(name, transport=mode, loopback="all", record_errors="all")


def main(mode: str, url: str, *names: str) -> None:
    """Print what the clients saw, by client and case."""
    for name in names:
        watch(CLIENTS[name], f"{url}/{name.replace(' ', '-')}/warm", CASES["a JSON answer"])  # loads its library
    share_authorities()
    found: dict[str, dict[str, Seen]] = {}
    for name in names:
        with block_of(mode, name):
            found[name] = {
                case: watch(CLIENTS[name], f"{url}/{name.replace(' ', '-')}/{number}", row)
                for number, (case, row) in enumerate(CASES.items())
                if row.method != "HEAD" or name not in POSTING
            }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
