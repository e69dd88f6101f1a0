"""A Huey of any class can be put under test, and whatever is in the place of its functions is called."""

from contextlib import nullcontext
from typing import Generic, Protocol, TypeVar

import pytest
from huey import Huey, MemoryHuey
from huey.signals import Signal

import aquila.huey
from aquila.huey.delivery.delivering_huey import DeliveringHuey
from aquila.huey.instances import AquilaHuey
from aquila.huey.testing import use_test_queue
from tests.huey.sample_tasks import returning


class Named(Protocol):
    """Has a name."""

    name: str


class LikeTheFunction:
    """A wrapper as libraries for tracing make them: it counts calls, is equal to the function, and has what it has."""

    def __init__(self, function, calls):
        self.function, self.calls = function, calls

    def __get__(self, instance, kind=None):
        return type(self)(self.function.__get__(instance, kind), self.calls)

    def __call__(self, *args, **kwargs):
        self.calls.append(self.function)
        return self.function(*args, **kwargs)

    def __eq__(self, other):
        return self.function == other

    __hash__ = None

    def __getattr__(self, name):
        return getattr(self.function, name)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        *((kind, "enqueue") for kind in (AquilaHuey, DeliveringHuey, Huey)),
        *((kind, "_emit") for kind in (aquila.huey.MemoryHuey, DeliveringHuey, MemoryHuey, Huey)),
        ("the class", "_emit"),
        ("the instance", "_emit"),
        (Signal, "send"),
    ],
)
@pytest.mark.parametrize("is_under_test", [True, False])
def test_a_wrapper_that_looks_like_the_function_is_called(is_under_test, place, name, monkeypatch):
    huey, calls = aquila.huey.MemoryHuey("app"), []
    job = returning(huey)
    with use_test_queue(huey) if is_under_test else nullcontext():
        target = {"the class": type(huey), "the instance": huey}.get(place, place)
        with monkeypatch.context() as patch:
            patch.setattr(target, name, LikeTheFunction(getattr(target, name), calls))
            job()
        assert len(calls) == 1
        job()
        assert (len(calls), huey.pending_count()) == (1, 2)


@pytest.mark.parametrize("mixin", [Generic[TypeVar("T")], Named], ids=["generic", "protocol"])
def test_a_huey_that_is_also_generic_or_a_protocol_can_be_put_under_test(mixin):
    class Own(MemoryHuey, mixin):
        """A queue with another base."""

    huey = Own("own")

    @huey.task()
    def job():
        """Is enqueued alone."""

    with use_test_queue(huey):
        job()
        assert huey.pending_count() == 1


def test_only_classes_that_a_huey_gets_are_made():
    made = []

    class Registering:
        def __init_subclass__(cls, **options):
            super().__init_subclass__(**options)
            made.append(cls)

    class Own(MemoryHuey, Registering):
        """Tells who makes subclasses of it."""

    huey = Own("own")
    with use_test_queue(huey):
        assert set(made) <= set(type(huey).__mro__)
