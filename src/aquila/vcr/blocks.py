"""``vcr.use_cassette``: a block or a decorator that uses a cassette of Aquila with the options of vcrpy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import wrapt

from aquila.intercept import decorated_functions
from aquila.intercept.scope_block import ScopeBlock
from aquila.recording.scope import Scope
from aquila.vcr.cassette import Cassette
from aquila.vcr.option_translation import CassettePlan, watch_contents

_TITLE = "vcr.use_cassette"


class PlanMaker(Protocol):
    """A function that makes the plan of a cassette. A cassette without a path is named after ``function``."""

    def __call__(self, function: Callable[..., Any] | None = None) -> CassettePlan:
        """Return the plan."""


class CassetteBlock(ScopeBlock[Cassette]):
    """A cassette for a block (``with`` or ``async with``), or for each call of the function that it decorates.

    ``make_plan`` is called for each block and each call, so that changed options take effect. ``injects`` says that a
    decorated function gets the cassette as its first argument. Entering a block returns a ``Cassette``.

    Examples:
        >>> from aquila import vcr
        >>> block = vcr.use_cassette("birds.yaml")
        >>> isinstance(block, vcr.CassetteBlock)
        True
        >>> with block as cassette:
        ...     len(cassette)
        0
    """

    def __init__(
        self, make_plan: PlanMaker, *, injects: bool = False, function: Callable[..., Any] | None = None
    ) -> None:
        super().__init__()
        self._make_plan = make_plan
        self._injects = injects
        self._function = function

    def __call__(self, function: Any) -> Any:
        """Decorate a function. Raises ``UnsuitableFunction`` for anything else, such as a class."""

        def block() -> CassetteBlock:
            return CassetteBlock(self._make_plan, function=function)

        if self._injects:
            return _inject(function, block)
        cassette = decorated_functions.DecoratorCassette(_TITLE, block, lambda: block()._make_scope()[0])
        return decorated_functions.decorate_function(function, cassette)

    def _make_scope(self) -> tuple[Scope, Cassette]:
        plan = self._make_plan(self._function)
        scope = Scope(
            kind="block",
            name=f"vcr.use_cassette({plan.name!r})",
            default_cassette=plan.name,
            owns_cassette=plan.drops_unused,
            options=plan.settings,
        )
        if plan.drops_unused:
            scope.drop_unused()
        scope.use_filters(plan.filters, plan.files.further)
        watch_contents(scope)
        return scope, Cassette(scope, plan)


def _inject(function: Any, make_block: Callable[[], CassetteBlock]) -> Any:
    """Wrap ``function`` so that each call gets the cassette as its first argument, in a method after ``self``."""
    # wrapt keeps the signature and the kind of a function, and passes the ``self`` of a method separately.

    @wrapt.decorator
    def injected(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(wrapped):
            return _await_within(make_block(), wrapped, args, kwargs)
        if inspect.isgeneratorfunction(wrapped) or inspect.isasyncgenfunction(wrapped):
            return _generate_within(make_block(), wrapped)(*args, **kwargs)
        with make_block() as cassette:
            return wrapped(cassette, *args, **kwargs)

    return injected(function)


async def _await_within(block: CassetteBlock, function: Any, args: Any, kwargs: Any) -> Any:
    with block as cassette:
        return await function(cassette, *args, **kwargs)


def _generate_within(block: CassetteBlock, function: Any) -> Any:
    """Wrap a generator function so that it gets the cassette, which stays open while the generator runs."""
    scope, cassette = block._make_scope()
    given = (function.__self__,) if inspect.ismethod(function) else ()
    body = functools.partial(getattr(function, "__func__", function), *given, cassette)
    return decorated_functions.decorate_function(
        body, decorated_functions.DecoratorCassette(_TITLE, lambda: block, lambda: scope)
    )
