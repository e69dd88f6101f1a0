"""Task groups in which requests were missed or refused, as errors after which the other tests go on.

A task group raises the outcomes of its tasks as a ``BaseExceptionGroup``, which is neither an ``Exception`` nor an
outcome of pytest. What runs tests takes it for an interruption: anyio ends the task that runs all tests of a module or
of the run, and pytest does not remember that a fixture has failed. With ordinary errors in it the group is an
``ExceptionGroup``, and its report is the same.

The change is made where the code of a test or a fixture ends: within that code the groups are as its libraries make
them. Only runs with async fixtures, or with tests under anyio, load this module.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from aquila.recording.miss_outcomes import ordinary_form

Function = Callable[..., Any]


def with_ordinary_groups(function: Function) -> Function:
    """Return an async function or method that raises groups with ordinary errors in place of those with outcomes."""
    if isinstance(function, types.MethodType):  # still a method, because pytest binds it to the object of each test
        return types.MethodType(with_ordinary_groups(function.__func__), function.__self__)

    @functools.wraps(function)
    async def run(*arguments: Any, **options: Any) -> Any:
        __tracebackhide__ = True  # pytest shows no such frame
        try:
            return await function(*arguments, **options)
        except BaseExceptionGroup as group:
            failure = ordinary_form(group)
        raise failure  # after the clause, or the group that it replaces would become its context

    @functools.wraps(function)
    async def iterate(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        __tracebackhide__ = True
        try:
            async for value in function(*arguments, **options):
                yield value
        except BaseExceptionGroup as group:
            failure = ordinary_form(group)
        else:
            return
        raise failure

    return iterate if inspect.isasyncgenfunction(function) else run


@contextlib.contextmanager
def in_async_fixture(fixture: Any) -> Iterator[None]:
    """Replace the function of an async fixture within the block. If a plugin replaces it meanwhile, that stays."""
    function = fixture.func
    changed = fixture.func = with_ordinary_groups(function)
    try:
        yield
    finally:
        if fixture.func is changed:
            fixture.func = function


@contextlib.contextmanager
def in_async_test(item: Any) -> Iterator[None]:
    """Replace the function of a test within the block if it is async, or the one that hypothesis calls for the test."""
    tried = getattr(item.obj, "hypothesis", None)  # what `hypothesis.given` adds to a function
    holder, name = (item, "obj") if tried is None else (tried, "inner_test")
    function = getattr(holder, name)
    if not inspect.iscoroutinefunction(function):
        yield
        return
    setattr(holder, name, with_ordinary_groups(function))
    try:
        yield
    finally:
        setattr(holder, name, function)
