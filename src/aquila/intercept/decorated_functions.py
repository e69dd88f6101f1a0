"""``use_cassette`` as a decorator: the body of a function of any kind runs within the cassette.

The body of a generator runs in stretches, between which its consumer runs. The cassette is in force during the
stretches only: its scope is suspended at each ``yield``, and resumed when the generator goes on.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aquila.errors import UnsuitableFunction
from aquila.intercept import activation
from aquila.recording import scope as scopes
from aquila.recording.reporting import played_answers
from aquila.recording.scope import Scope

# Private classes of the standard library. Only the result shows that a function was decorated by `@contextmanager`.
_MADE_BY_CONTEXTMANAGER = contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager


@dataclass(frozen=True, slots=True)
class DecoratorCassette:
    """Makes the block or the scope that a decorator opens for each call.

    ``title`` names the decorator in messages. ``block`` makes a block around a whole call. ``scope`` makes a scope that
    is not open yet, for a generator.
    """

    title: str
    block: Callable[[], contextlib.AbstractContextManager[Any]]
    scope: Callable[[], Scope]


def decorate_function(function: Any, cassette: DecoratorCassette) -> Any:
    """Return a function of the same kind as ``function`` whose body runs within ``cassette``.

    Raises ``UnsuitableFunction`` for anything that is not a function. The message says what to do instead.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate_function(function.__func__, cassette))
    _refuse_what_is_no_function(function, cassette)
    bodies = [function]
    if not inspect.isroutine(function):
        bodies.append(type(function).__call__)  # of an object that can be called
    if any(map(inspect.iscoroutinefunction, bodies)):
        wrapper = _coroutine_function(function, cassette)
    elif any(map(inspect.isasyncgenfunction, bodies)):
        wrapper = _async_generator_function(function, cassette)
    elif any(map(inspect.isgeneratorfunction, bodies)):
        wrapper = _generator_function(function, cassette)
    else:
        wrapper = _plain_function(function, cassette)
    return _described_as(function, wrapper)


def close_block(scope: Scope, error: BaseException | None) -> None:
    """Close the scope of a block that ended with ``error`` or None, and add its counts to the scope around it.

    A block around the ``yield`` of a fixture ends without an error, but after the report of its test, or because the
    run is interrupted.
    """
    if error is None and scope.run.scopes.keep(scope):
        return
    skips = _is_skip(error)
    outcome = ("" if scope.run.test is None else scope.run.test.mark.outcome) or ("skipped" if skips else "")
    if isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
        error = None  # the consumer of a generator has left early, or a command has ended well: nothing has failed
    try:
        is_meant = (skips or error is None) and outcome in ("skipped", "xfailed") and not scope.misses.hear()
        report = scope.close(passed=error is None and not outcome, adds_only=is_meant)
        parent = scope.parent
        if parent is not None:
            parent.add_block_report(report, scope.sessions.opened())
        if not (scope.run.runs_tests and scope.run.is_here):  # tell the run of tests that has started this process
            if parent is None or not parent.is_owner or parent.kind != "block":
                scope.child_messages.tell_block(scope.id, report)
            played_answers.tell_block_plays(scope)
    except Exception as failure:
        if error is None:
            raise
        # The error of the block matters more than that of the cassette, so it is the one that is raised.
        error.add_note(f"and its recording could not be kept: {failure}")


_SKIPS = {("builtins", "Skipped"), ("_pytest.outcomes", "XFailed"), ("unittest.case", "SkipTest")}
"""What ``pytest.skip``, ``pytest.xfail`` and ``skipTest`` raise; the first claims to be a builtin."""


def _is_skip(error: BaseException | None) -> bool:
    """Whether a test has left the block because it ends there as it is meant to."""
    return any((kind.__module__, kind.__name__) in _SKIPS for kind in type(error).__mro__)


class _Stretches:
    """The scope of one generator, as a context manager that is entered for each stretch of its body."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._within: Scope | None = scope  # bound when the body last yielded, perhaps the scope of an inner block
        self._around: Scope | None = None  # bound by the consumer, and restored at each `yield`
        self._has_begun = False

    def __enter__(self) -> None:
        if self._has_begun:
            self._scope.run.scopes.resume(self._scope)
        else:
            activation.watch_scopes()
            scopes.open_scope(self._scope)
            self._has_begun = True
        self._around = scopes.bind_scope(self._within)

    def __exit__(self, *_: object) -> None:
        self._within = scopes.bind_scope(self._around)
        self._scope.run.scopes.suspend(self._scope)

    @contextlib.contextmanager
    def until_the_end(self) -> Iterator[_Stretches]:
        """Close the scope when the block ends. A generator that is closed early counts as passed."""
        try:
            yield self
        except BaseException as error:
            close_block(self._scope, error)
            raise
        close_block(self._scope, None)


def _plain_function(function: Callable[..., Any], cassette: DecoratorCassette) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with cassette.block():
            result = function(*args, **kwargs)
        return _with_its_body_within(result, cassette)

    return called


def _coroutine_function(function: Callable[..., Any], cassette: DecoratorCassette) -> Callable[..., Any]:
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with cassette.block():
            result = await function(*args, **kwargs)
        return _with_its_body_within(result, cassette)

    return awaited


def _generator_function(function: Callable[..., Any], cassette: DecoratorCassette) -> Callable[..., Any]:
    def generated(*args: Any, **kwargs: Any) -> Any:
        with _Stretches(cassette.scope()).until_the_end() as stretch:
            with stretch:
                generator = function(*args, **kwargs)
            go_on: Callable[[], Any] = functools.partial(next, generator)
            while True:
                try:
                    with stretch:
                        value = go_on()
                except StopIteration as end:
                    return end.value
                try:
                    go_on = functools.partial(generator.send, (yield value))
                except GeneratorExit:
                    with stretch:
                        return generator.close()
                except BaseException as error:  # noqa: BLE001 (the body decides what becomes of it)
                    go_on = functools.partial(generator.throw, error)

    return generated


def _async_generator_function(function: Callable[..., Any], cassette: DecoratorCassette) -> Callable[..., Any]:
    async def generated(*args: Any, **kwargs: Any) -> Any:
        with _Stretches(cassette.scope()).until_the_end() as stretch:
            with stretch:
                generator = function(*args, **kwargs)
            go_on: Callable[[], Any] = generator.__anext__
            while True:
                try:
                    with stretch:
                        value = await go_on()
                except StopAsyncIteration:
                    return
                try:
                    go_on = functools.partial(generator.asend, (yield value))
                except GeneratorExit:
                    with stretch:
                        await generator.aclose()
                    return
                except BaseException as error:  # noqa: BLE001 (the body decides what becomes of it)
                    go_on = functools.partial(generator.athrow, error)

    return generated


def _with_its_body_within(result: Any, cassette: DecoratorCassette) -> Any:
    """Return the result of a function. If it is a coroutine or generator, its body will run within a cassette.

    That happens if another decorator hides the kind of the function.
    """
    if inspect.iscoroutine(result):
        return _coroutine_function(lambda: result, cassette)()
    if inspect.isgenerator(result):
        return _generator_function(lambda: result, cassette)()
    if inspect.isasyncgen(result):
        return _async_generator_function(lambda: result, cassette)()
    if isinstance(result, _MADE_BY_CONTEXTMANAGER):
        raise UnsuitableFunction(
            f"{cassette.title} is above a decorator that makes a context manager; put it below, next to the function"
        )
    return result


def _refuse_what_is_no_function(function: Any, cassette: DecoratorCassette) -> None:
    name = getattr(function, "__name__", None) or f"an object of the class {type(function).__name__}"
    if inspect.isclass(function):
        raise UnsuitableFunction(
            f"{cassette.title} is put on the class {name}; put it on the methods that make requests, "
            "or use the class in a block: with aquila.use_cassette(...)"
        )
    is_fixture = type(function).__name__ == "FixtureFunctionDefinition" or (
        "_pytestfixturefunction" in getattr(function, "__dict__", {})  # before pytest 8.4
    )
    if is_fixture:
        raise UnsuitableFunction(
            f"{cassette.title} is above @pytest.fixture on {name}; put it below, next to the function"
        )
    if not callable(function):
        raise UnsuitableFunction(
            f"{cassette.title} is put on {name}, which cannot be called; put it next to the function, "
            "below the decorator that changes it (such as @property)"
        )


def _described_as(function: Any, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Give the wrapper the name, the documentation and the signature of what it wraps."""
    if inspect.isroutine(function):
        return functools.update_wrapper(wrapper, function)
    described = function
    while isinstance(described, functools.partial):
        described = described.func
    if not inspect.isroutine(described):
        described = type(described)
    functools.update_wrapper(wrapper, described, ("__module__", "__name__", "__qualname__", "__doc__"), ())
    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper
