"""The marks that say which outcome of a task counts. Whoever sets one first decides: see ``TasksInHand``."""

from __future__ import annotations

from typing import Any

HAS_ENDED = object()
"""The ``_aquila_end`` of a task whose outcome counts: from then on the task is not handed back."""

IS_LOST = object()
"""The ``_aquila_end`` of a task that another consumer has taken over."""


def is_lost(task: Any) -> bool:
    """Whether another consumer is known to have taken over a task that executes here. Its outcome here is discarded."""
    return getattr(task, "_aquila_end", None) is IS_LOST
