"""The signals of Huey, which are left out where nobody listens."""

from huey import Huey
from huey.storage import MemoryStorage

from aquila.huey import AquilaHuey, MemoryHuey


def test_a_class_that_sends_signals_by_itself_sends_all_where_nobody_listens():
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


def test_who_begins_to_listen_in_the_midst_hears_the_rest():
    huey, heard = MemoryHuey("app"), []

    @huey.task()
    def task():
        huey.signal("complete")(lambda signal, task: heard.append(signal))

    task()
    huey.execute(huey.dequeue())
    assert heard == ["complete"]
