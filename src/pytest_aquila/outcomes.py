"""An unanswered request as an outcome of a test: it fails the test, whatever its code does with exceptions.

``except Exception`` does not catch it, as it does not catch what ``pytest.fail`` raises. Whatever runs tests knows it:
it is a ``Failed`` of pytest's, so it may come out of a fixture, too.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from aquila.errors import UnansweredRequest, kind_of


def make_outcome(error: UnansweredRequest, *, with_traceback: bool = True) -> UnansweredRequest:
    """Return an error as an outcome. Without a traceback the report shows its text alone."""
    # Reports then write the name of the class alone, as for the outcomes of pytest itself.
    kind = kind_of(type(error).public_class, pytest.fail.Exception, module="builtins")
    outcome: Any = kind(str(error), difference=error.difference, group=error.group)
    outcome.pytrace = with_traceback
    return cast(UnansweredRequest, outcome)
