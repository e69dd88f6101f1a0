"""Faults for a part of a test: the object of the fixture ``aquila_faults``."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

from aquila.errors import FaultFailed
from aquila.faults.fault import Fault, Value, make_fault
from aquila.faults.parsing import read_faults
from aquila.faults.plan import FaultPlan
from aquila.faults.table import FAULTS
from aquila.recording.scope import Scope
from aquila.spelling import suggest_name

if TYPE_CHECKING:
    from aquila.testing.fault_methods import FaultMethods
else:
    FaultMethods = object

PutInForce: TypeAlias = Callable[..., AbstractContextManager[FaultPlan]]


class Faults(FaultMethods):
    """Lets answers meet faults within blocks: ``with aquila_faults.overloaded(times=2): ...``.

    Each fault of the table is a method with its parameters. ``times`` says how often each request meets it, None for
    always. ``with ... as plan`` gives the plan of the block; ``plan.met`` counts the requests that met its fault. If no
    request met the fault, the block raises ``FaultFailed`` at its end. Within nested blocks only the innermost counts.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._numbers = itertools.count(1)

    def __call__(self, text: str) -> AbstractContextManager[FaultPlan]:
        """Let answers meet the faults that a text names, in their order. Raises ``ConfigError`` for a wrong text."""
        return self._put_in_force(read_faults(text))

    if not TYPE_CHECKING:  # type checkers know the methods, and so refuse a wrong name

        def __getattr__(self, name: str) -> PutInForce:
            return self._make_method(name)

    def _make_method(self, name: str) -> PutInForce:
        kind = FAULTS.get(name)
        if kind is None:
            raise AttributeError(f"no fault {name!r}{suggest_name(name, tuple(FAULTS))}", name=name, obj=self)

        def fault(*first: Value, **parameters: Value) -> AbstractContextManager[FaultPlan]:
            if first and (len(first) > 1 or kind.first is None or kind.first in parameters):
                raise TypeError(f"{name}() takes its parameters by name")
            given = dict(zip([kind.first or ""], first, strict=False)) | parameters
            return self._put_in_force((make_fault(kind, given),))

        fault.__doc__ = kind.summary
        return fault

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *FAULTS]

    @contextlib.contextmanager
    def _put_in_force(self, faults: Sequence[Fault]) -> Iterator[FaultPlan]:
        plan = FaultPlan(faults, f"{self._scope.id}.{next(self._numbers)}")
        before = self._scope.faults.use(plan)
        try:
            yield plan
        finally:
            self._scope.faults.use(before)
            self._scope.faults.collect_met(plan)
        if message := plan.explain_unmet():
            raise FaultFailed(message)
