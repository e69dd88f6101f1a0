"""The signals of Huey, which are left out where nobody listens."""

import functools

import pytest
from huey import Huey
from huey.signals import Signal
from huey.storage import MemoryStorage

from aquila.huey import AquilaHuey, MemoryHuey
from aquila.huey.delivery.delivering_huey import find_own


def test_a_class_with_its_own_emit_sends_all_signals_where_there_is_no_receiver():
    class Counting(Huey):
        sent: list = []

        def _emit(self, signal, task, *args, **kwargs):
            self.sent.append(signal)
            super()._emit(signal, task, *args, **kwargs)

    class CountingHuey(AquilaHuey, Counting):
        pass

    huey = CountingHuey("app", storage_class=MemoryStorage)
    task = huey.task()(lambda: None)
    task()
    huey.execute(huey.dequeue())
    assert Counting.sent == ["enqueued", "executing", "complete"]


def test_a_receiver_that_is_added_while_a_task_executes_gets_the_signals_that_follow():
    huey, heard = MemoryHuey("app"), []

    @huey.task()
    def task():
        huey.signal("complete")(lambda signal, task: heard.append(signal))

    task()
    huey.execute(huey.dequeue())
    assert heard == ["complete"]


@pytest.mark.parametrize(("kind", "name"), [(Huey, "_emit"), (Signal, "send")], ids=["emit", "send"])
def test_a_patch_of_the_sending_of_signals_gets_all_where_there_is_no_receiver(kind, name, monkeypatch):
    heard, original = [], getattr(kind, name)

    def send(self, signal, task, *args, **kwargs):
        heard.append(signal)
        original(self, signal, task, *args, **kwargs)

    huey = MemoryHuey("app")
    task = huey.task()(lambda: None)
    task()
    huey.dequeue()  # What is found of a class once does not hide what comes later.
    monkeypatch.setattr(kind, name, send)
    task()
    huey.execute(huey.dequeue())
    assert heard == ["enqueued", "executing", "complete"]


def test_an_earlier_patch_of_the_sending_is_told_from_hueys_own_function(monkeypatch):
    own = Huey._emit
    assert find_own(Huey, "_emit") is own

    @functools.wraps(own)
    def send(*args, **kwargs):
        own(*args, **kwargs)

    monkeypatch.setattr(Huey, "_emit", send)
    assert find_own(Huey, "_emit") is None


def test_signals_of_another_class_are_all_sent():
    heard = []

    class Bus(Signal):
        __slots__ = ()

        def send(self, signal, task, *args, **kwargs):
            heard.append(signal)

    huey = MemoryHuey("app")
    huey._signal = Bus()
    task = huey.task()(lambda: None)
    task()
    huey.execute(huey.dequeue())
    assert heard == ["enqueued", "executing", "complete"]
