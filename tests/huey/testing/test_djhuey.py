"""Tasks of djhuey that are enqueued when a transaction is committed, in test cases of Django, which never commit."""

import asyncio
import threading

import pytest

from aquila.huey.tasks.django_connections import with_own_connections

pytest.importorskip("django")
asgiref = pytest.importorskip("asgiref.sync")

SETTINGS = """
from aquila.huey import SqliteHuey

SECRET_KEY = "for tests"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}
HUEY = SqliteHuey("shop", filename="queue.db")
"""

APP = """
import django
django.setup()
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from huey.contrib.djhuey import db_task, on_commit_task

@on_commit_task(retries=1)
def send_receipt(order, copy=False):
    return f"receipt of {order}"

@db_task()
def pay(order, fail=False):
    send_receipt(order)
    with transaction.atomic():
        send_receipt(order, copy=True)
    try:
        with transaction.atomic():
            send_receipt("rolled back")
            raise ValueError
    except ValueError:
        pass
    if fail:
        raise ConnectionError

used = []

def connect():
    used.append(connections["default"])
    used[-1].ensure_connection()

@db_task()
async def look():
    await sync_to_async(connect)()
"""

TESTS = """
import pytest
from django.db import transaction
from django.test import TestCase
import shop
from aquila.huey.testing import all_enqueued, assert_enqueued, build_task, drain_queue, perform_job, refute_enqueued

class TestOrders(TestCase):
    databases = {"default"}

    def test_it_is_performed_and_built(self):
        run = perform_job(shop.send_receipt, 7)
        assert (run.value, run.state) == ("receipt of 7", "complete")
        assert perform_job(build_task(shop.send_receipt, 7, attempt=2)).attempt == 2
        with pytest.raises(Exception, match="cannot be called like that"):
            perform_job(shop.send_receipt)

    def test_what_waits_for_a_commit_is_not_enqueued_yet(self):
        shop.send_receipt(7)
        refute_enqueued(shop.send_receipt)
        with pytest.raises(AssertionError, match="captureOnCommitCallbacks.execute=True"):
            assert_enqueued(shop.send_receipt, order=7)
        with pytest.raises(AssertionError) as failure:
            assert_enqueued(shop.send_receipt, order=8)
        assert "captureOnCommitCallbacks" not in str(failure.value)

    def test_captured_callbacks_enqueue_it(self):
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            shop.send_receipt(7)
        assert len(callbacks) == 1
        assert_enqueued(shop.send_receipt, order=7)
        assert drain_queue() == {"complete": 1}

    def test_captured_callbacks_that_are_not_executed_enqueue_nothing(self):
        with self.captureOnCommitCallbacks(execute=False) as callbacks:
            shop.send_receipt(7)
        assert len(callbacks) == 1
        refute_enqueued(shop.send_receipt)
        assert drain_queue() == {}
        callbacks[0]()
        assert_enqueued(shop.send_receipt, order=7)

    def test_a_task_that_is_drained_commits_as_in_a_worker(self):
        shop.pay(7)
        drained = drain_queue()
        assert drained == {"complete": 3}
        assert [run.value for run in drained.runs[1:]] == ["receipt of 7"] * 2
        with self.captureOnCommitCallbacks(execute=False) as callbacks:
            shop.pay(8)
            assert drain_queue(with_recursion=False) == {"complete": 1}
        assert callbacks == []
        assert len(all_enqueued(shop.send_receipt, 8)) == 2

    def test_what_the_test_has_registered_itself_waits_while_it_drains(self):
        shop.send_receipt("of the test")
        shop.pay(7)
        assert drain_queue() == {"complete": 3}
        refute_enqueued(shop.send_receipt)
        assert len(transaction.get_connection().run_on_commit) == 1

    def test_a_capture_around_a_task_does_not_commit_once_more(self):
        with self.captureOnCommitCallbacks(execute=True):
            perform_job(shop.pay, 7)
            assert len(all_enqueued(shop.send_receipt)) == 2
        assert len(all_enqueued(shop.send_receipt)) == 2

    def test_a_task_that_is_performed_commits_as_in_a_worker(self):
        run = perform_job(shop.pay, 7)
        assert [task.kwargs for task in run.enqueued] == [{}, {"copy": True}]
        assert_enqueued(shop.send_receipt, order=7, copy=True)
        assert len(all_enqueued(shop.send_receipt)) == 2
        with pytest.raises(ConnectionError):
            perform_job(shop.pay, 8, fail=True)
        assert len(all_enqueued(shop.send_receipt, 8)) == 2
        assert drain_queue() == {"complete": 4}

    def test_an_async_task_closes_its_own_connection(self):
        perform_job(shop.look)
        perform_job(shop.look)
        first, second = shop.used
        assert first is not second
        assert first.connection is second.connection is None

    def test_nothing_of_it_stays_for_the_next_test(self):
        assert not transaction.get_connection().run_on_commit
"""


@pytest.mark.slow
def test_tasks_that_are_enqueued_on_commit(pytester, monkeypatch):
    pytester.makepyfile(shop_settings=SETTINGS, shop=APP, test_orders=TESTS)
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = shop_settings:HUEY\n")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    result = pytester.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=10)


def test_a_cancelled_task_does_not_wait_for_sync_code_that_hangs():
    goes_on, ended = threading.Event(), []

    async def cancel():
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def hang():
            loop.call_soon_threadsafe(begun.set)
            ended.append(goes_on.wait(60))

        task = asyncio.ensure_future(with_own_connections(asgiref.sync_to_async(hang)()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert not ended
    goes_on.set()


def test_a_task_within_a_view_has_a_thread_of_its_own():
    """In immediate mode that of a view that is not async waits for the task."""

    async def threads():
        async with asgiref.ThreadSensitiveContext():
            of_view = await asgiref.sync_to_async(threading.get_ident)()
            of_task = await asyncio.create_task(with_own_connections(asgiref.sync_to_async(threading.get_ident)()))
            return of_view, of_task, await asgiref.sync_to_async(threading.get_ident)()

    of_view, of_task, afterwards = asyncio.run(threads())
    assert of_view == afterwards != of_task
