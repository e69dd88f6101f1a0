"""``use_cassette`` as a decorator: the body runs within the cassette, whatever the kind of function."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

import aquila
from aquila.errors import AquilaError, UnsuitableFunction
from aquila.recording import scope as scopes
from aquila.recording.runtime import current_run

pytestmark = pytest.mark.usefixtures("root")


def here() -> str | None:
    """The cassette in force."""
    scope = scopes.current_scope()
    return scope.default_cassette if scope is not None else None


def in_new_thread() -> str | None:
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(here()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each scope that was closed, whether it passed."""
    seen: list[bool] = []
    close = scopes.Scope.close

    def watched(scope: scopes.Scope, *, passed: bool, **options: bool) -> Any:
        seen.append(passed)
        return close(scope, passed=passed, **options)

    monkeypatch.setattr(scopes.Scope, "close", watched)
    return seen


@aquila.use_cassette("x")
def conversation(first: str) -> Generator[tuple[str, str | None], Any, str]:
    """Give back what it is sent."""
    value = first
    while value != "end":
        try:
            value = yield value, here()
        except LookupError as error:
            value = f"thrown {error}"
    return f"returned in {here()}"


def test_the_body_of_a_generator_runs_within_the_cassette_and_its_consumer_does_not(closed: list[bool]) -> None:
    generator = conversation("a")
    assert inspect.isgeneratorfunction(conversation)
    assert list(inspect.signature(conversation).parameters) == ["first"]
    assert (conversation.__name__, conversation.__doc__) == ("conversation", "Give back what it is sent.")
    assert next(generator) == ("a", "x")
    assert (here(), in_new_thread()) == (None, None)
    assert generator.send("b") == ("b", "x")
    assert generator.throw(KeyError("c")) == ("thrown 'c'", "x")
    assert closed == []
    with pytest.raises(StopIteration) as end:
        generator.send("end")
    assert end.value.value == "returned in x"
    assert closed == [True]
    assert (here(), in_new_thread(), current_run().scopes.surrounding()) == (None, None, ())


def test_a_generator_counts_its_requests_as_one_run_of_its_own() -> None:
    seen = []

    @aquila.use_cassette("x")
    def generator() -> Iterator[None]:
        for _ in range(2):
            seen.append(scopes.current_scope())
            yield

    assert list(generator()) == [None, None]
    assert list(generator()) == [None, None]
    assert seen[0] is seen[1]
    assert seen[2] is seen[3]
    assert seen[0] is not seen[2]


@pytest.mark.slow
def test_a_generator_that_is_left_early_is_closed_within_the_cassette_and_has_not_failed(closed: list[bool]) -> None:
    left = []

    @aquila.use_cassette("x")
    def generator() -> Iterator[int]:
        try:
            yield 1
        finally:
            left.append(here())

    for leave in (lambda it: it.close(), lambda it: None):
        iterator = generator()
        next(iterator)
        leave(iterator)
        del iterator
        gc.collect()
    assert left == ["x", "x"]
    assert closed == [True, True]
    generator().close()
    assert closed == [True, True]


def test_a_block_that_is_left_early_has_not_failed_unless_by_an_error(closed: list[bool]) -> None:
    def generator() -> Iterator[int]:
        with aquila.use_cassette("x"):
            yield 1

    for leave in (lambda it: it.close(), lambda it: it.throw(OSError)):
        iterator = generator()
        next(iterator)
        with contextlib.suppress(OSError):
            leave(iterator)
    for status in (0, None, 2, "it broke"):  # as commands end
        with pytest.raises(SystemExit), aquila.use_cassette("x"):
            sys.exit(status)
    assert closed == [True, False, True, True, False, False]


def test_a_generator_that_raises_has_failed(closed: list[bool]) -> None:
    @aquila.use_cassette("x")
    def generator() -> Iterator[int]:
        yield 1
        raise RuntimeError("it broke")

    with pytest.raises(RuntimeError, match="it broke"):
        list(generator())
    iterator = conversation("a")
    next(iterator)
    with pytest.raises(OSError, match="thrown in"):
        iterator.throw(OSError("thrown in"))
    assert closed == [False, False]
    assert current_run().scopes.surrounding() == ()


def test_generators_that_run_in_turns_do_not_see_each_other() -> None:
    one, other = conversation("a"), aquila.use_cassette("y")(lambda: (here() for _ in range(2)))()
    with aquila.use_cassette("around"):
        assert next(one)[1] == "x"
        assert here() == "around"
        assert next(other) == "y"
        assert one.send("b")[1] == "x"
    assert next(other) == "y"
    assert one.send("c")[1] == "x"
    assert here() is None


def test_a_body_that_yields_within_a_block_of_its_own_goes_on_within_it() -> None:
    @aquila.use_cassette("x")
    def generator() -> Iterator[tuple[str | None, str | None]]:
        with aquila.use_cassette("inner"):
            yield here(), in_new_thread()
            yield here(), in_new_thread()
        yield here(), in_new_thread()

    assert list(generator()) == [("inner", "inner"), ("inner", "inner"), ("x", "x")]


def test_what_lies_around_the_code_is_the_consumers_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQUILA_SCOPE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "a key of the consumer")
    before = dict(os.environ)

    @aquila.use_cassette("x")
    def generator() -> Iterator[bool]:
        yield dict(os.environ) == before
        yield dict(os.environ) == before

    iterator = generator()
    for _ in range(2):
        assert next(iterator) is False
        assert dict(os.environ) == before
    iterator.close()  # type: ignore[attr-defined]
    assert dict(os.environ) == before


def test_the_body_of_an_async_generator_runs_within_the_cassette_and_its_consumer_does_not(closed: list[bool]) -> None:
    left = []

    @aquila.use_cassette("x")
    async def conversation(value: str) -> Any:
        try:
            while True:
                await asyncio.sleep(0)
                try:
                    value = yield value, here()
                except LookupError as error:
                    value = f"thrown {error}"
                if value == "end":
                    return
        finally:
            await asyncio.sleep(0)
            left.append(here())

    async def run() -> None:
        generator = conversation("a")
        assert await anext(generator) == ("a", "x")
        assert (here(), in_new_thread()) == (None, None)
        assert await generator.asend("b") == ("b", "x")
        assert await generator.athrow(KeyError("c")) == ("thrown 'c'", "x")
        with pytest.raises(StopAsyncIteration):
            await generator.asend("end")
        assert closed == [True]

        generator = conversation("a")
        await anext(generator)
        await generator.aclose()
        assert closed == [True, True]

        generator = conversation("a")
        await anext(generator)
        with pytest.raises(OSError, match="thrown in"):
            await generator.athrow(OSError("thrown in"))
        assert closed == [True, True, False]
        assert here() is None

    assert inspect.isasyncgenfunction(conversation)
    asyncio.run(run())
    assert left == ["x", "x", "x"]
    assert current_run().scopes.surrounding() == ()


def test_an_async_generator_that_is_dropped_is_closed_by_the_event_loop(closed: list[bool]) -> None:
    @aquila.use_cassette("x")
    async def generator() -> AsyncIterator[int]:
        yield 1

    async def run() -> None:
        async for _ in generator():
            break
        async with asyncio.timeout(60):
            while not closed:
                await asyncio.sleep(0)

    asyncio.run(run())
    assert closed == [True]
    assert current_run().scopes.surrounding() == ()


def test_tasks_that_step_async_generators_in_turns_do_not_see_each_other() -> None:
    @aquila.use_cassette("x")
    async def numbers() -> AsyncIterator[str | None]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield here()

    async def consume() -> list[str | None]:
        return [name async for inside in numbers() for name in (inside, scopes.bound_scope.get() and here())]

    async def run() -> list[list[str | None]]:
        return await asyncio.gather(consume(), consume())

    assert asyncio.run(run()) == [["x", None] * 3] * 2


class Callables:
    """Functions of every kind, for tests that decorate them."""

    def __call__(self) -> str | None:
        return here()

    class Async:
        async def __call__(self) -> str | None:
            return here()

    class Generating:
        def __call__(self) -> Iterator[str | None]:
            yield here()

    @aquila.use_cassette("x")
    def method(self) -> tuple[Any, str | None]:
        return self, here()

    @aquila.use_cassette("x")
    def generate(self) -> Iterator[str | None]:
        yield here()

    @aquila.use_cassette("x")
    @staticmethod
    def static() -> str | None:
        return here()

    @aquila.use_cassette("x")  # type: ignore[arg-type]
    @classmethod
    def of_class(cls) -> tuple[Any, str | None]:
        return cls, here()


def test_methods_of_every_kind_can_be_decorated() -> None:
    thing = Callables()
    assert thing.method() == (thing, "x")
    assert list(thing.generate()) == ["x"]
    assert Callables.static() == thing.static() == "x"
    assert Callables.of_class() == (Callables, "x")  # type: ignore[call-arg]


async def async_here(_: int) -> str | None:
    return here()


def generate_here(_: int) -> Iterator[str | None]:
    yield here()


async def async_generate_here(_: int) -> AsyncIterator[str | None]:
    yield here()


async def first(iterator: AsyncIterator[str | None]) -> str | None:
    return await anext(iterator)


@pytest.mark.parametrize(
    ("function", "finish"),
    [
        pytest.param(functools.partial(lambda _: here(), 1), lambda result: result, id="partial"),
        pytest.param(functools.partial(async_here, 1), asyncio.run, id="partial of async"),
        pytest.param(functools.partial(generate_here, 1), next, id="partial of generator"),
        pytest.param(
            functools.partial(async_generate_here, 1),
            lambda result: asyncio.run(first(result)),
            id="partial of async generator",
        ),
        pytest.param(Callables(), lambda result: result, id="object"),
        pytest.param(Callables.Async(), asyncio.run, id="async object"),
        pytest.param(Callables.Generating(), next, id="generating object"),
        pytest.param(lambda: async_here(1), asyncio.run, id="behind a plain function: async"),
        pytest.param(lambda: generate_here(1), next, id="behind a plain function: generator"),
        pytest.param(
            lambda: async_generate_here(1),
            lambda result: asyncio.run(first(result)),
            id="behind a plain function: async generator",
        ),
    ],
)
def test_whatever_can_be_called_runs_within_the_cassette(
    function: Callable[[], Any], finish: Callable[[Any], str | None]
) -> None:
    decorated = aquila.use_cassette("x")(function)
    assert finish(decorated()) == "x"
    assert decorated.__wrapped__ is function  # type: ignore[attr-defined]
    assert inspect.iscoroutinefunction(decorated) == inspect.iscoroutinefunction(
        function.__call__ if isinstance(function, Callables.Async) else function
    )


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Callables, "on the class Callables; put it on the methods"),
        (property(here), "which cannot be called; put it next to the function, below"),
        (functools.partialmethod(here), "which cannot be called"),
        (pytest.fixture(here), "above @pytest.fixture on here; put it below"),
        (None, "an object of the class NoneType, which cannot be called"),
    ],
)
def test_what_is_no_function_is_refused_when_it_is_decorated(thing: Any, message: str) -> None:
    with pytest.raises(UnsuitableFunction, match=message) as caught:
        aquila.use_cassette("x")(thing)
    assert isinstance(caught.value, AquilaError)
    assert isinstance(caught.value, TypeError)


def test_a_context_manager_runs_within_the_cassette_if_the_decorators_are_in_order() -> None:
    @contextlib.contextmanager
    @aquila.use_cassette("x")
    def right() -> Iterator[str | None]:
        yield here()
        left.append(here())

    @aquila.use_cassette("x")
    @contextlib.contextmanager
    def wrong() -> Iterator[None]:
        yield

    left: list[str | None] = []
    with right() as within:
        assert (within, here()) == ("x", None)
    assert left == ["x"]
    with pytest.raises(UnsuitableFunction, match="above a decorator that makes a context manager; put it below"):
        wrong()
