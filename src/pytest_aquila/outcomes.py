"""Unanswered requests as outcomes of pytest, which fail a test whatever its code does with exceptions.

Like the exception of ``pytest.fail``, such an outcome is not caught by ``except Exception``. It is also an instance of
that exception, so every runner of tests and every fixture handles it.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from aquila.errors import UnansweredRequest, kind_of


def text_of(error: BaseException) -> str:
    """Return the text of an error; an empty one where the class of the error cannot write it, as pytest allows."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - `__str__` of a test's own class may raise anything
        return ""


def make_outcome(error: UnansweredRequest, *, with_traceback: bool = True) -> UnansweredRequest:
    """Return ``error`` as an outcome. Without ``with_traceback`` the report shows only its text."""
    # With the module "builtins" reports show the class without a module, as for pytest's own outcomes.
    kind = kind_of(type(error).public_class, pytest.fail.Exception, module="builtins")
    outcome: Any = kind(str(error), **error.facts)
    outcome.pytrace = with_traceback
    return cast(UnansweredRequest, outcome)
