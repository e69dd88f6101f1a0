"""The tables that workers share, on every storage: each does what a dict with an order would do."""

import itertools
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from huey.storage import BlackHoleStorage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from aquila.errors import ConfigError
from aquila.huey import MemoryHuey
from aquila.huey.state import Entry, EntryChange, state_of
from tests.huey.storages import STORAGES
from tests.support.examples import examples
from tests.support.threads import run_at_once

KEYS = st.sampled_from(["a", "B", "b", "Ä", "a b", "%s?", "é", "'"])
VALUES = st.sampled_from([b"", b"0", b"17", b"\x00\xff", b"x" * 2000])
ORDERS = st.sampled_from([-1.5, 0.0, 1.0, 1.0000001, 1732650000.123456, 1732650000.1234562])
BOUNDS = st.sampled_from([float("-inf"), -1.5, 0.0, 1.0, 1732650000.123456, float("inf")])


class _Model(RuleBasedStateMachine):
    """Does everything twice: in the shared state, and in a dict."""

    state = None

    @initialize()
    def begin(self):
        self.state.clear()
        self.rows = {}

    @rule(key=KEYS, value=VALUES, order=ORDERS)
    def put(self, key, value, order):
        self.state.put("t", key, value, order=order)
        self.rows[key] = Entry(key, value, order)

    @rule(key=KEYS, value=VALUES, order=ORDERS)
    def add(self, key, value, order):
        assert self.state.add("t", key, value, order=order) == (key not in self.rows)
        self.rows.setdefault(key, Entry(key, value, order))

    @rule(key=KEYS, old=VALUES, new=VALUES, order=st.none() | ORDERS)
    def replace(self, key, old, new, order):
        present = self.rows.get(key)
        fits = present is not None and present.value == old
        assert self.state.replace("t", key, old, new, order=order) == fits
        if fits:
            self.rows[key] = Entry(key, new, present.order if order is None else order)

    @rule(given=st.lists(st.tuples(KEYS, st.none() | VALUES, VALUES, ORDERS), max_size=4), keys=st.lists(KEYS))
    def change_many(self, given, keys):
        done = self.state.change_many([EntryChange("t", *change) for change in given])
        for (key, old, new, order), was_done in zip(given, done, strict=True):
            present = self.rows.get(key)
            assert was_done == (present is None if old is None else present is not None and present.value == old)
            if was_done:
                self.rows[key] = Entry(key, new, order)
        assert self.state.get_many("t", keys) == [self.rows[key].value if key in self.rows else None for key in keys]

    @rule(key=KEYS, value=VALUES)
    def remove(self, key, value):
        fits = key in self.rows and self.rows[key].value == value
        assert self.state.remove("t", key, value) == fits
        if fits:
            del self.rows[key]

    @rule(keys=st.lists(KEYS, unique=True, max_size=3))
    def delete(self, keys):
        assert self.state.delete("t", *keys) == sum(self.rows.pop(key, None) is not None for key in keys)

    @rule(bound=BOUNDS, limit=st.integers(1, 4))
    def delete_below(self, bound, limit):
        gone = self._select(float("-inf"), bound)[:limit]
        assert self.state.delete_below("t", bound, limit=limit) == len(gone)
        for entry in gone:
            del self.rows[entry.key]

    @rule(low=BOUNDS, high=BOUNDS, limit=st.integers(1, 4), offset=st.integers(0, 3), newest_first=st.booleans())
    def read(self, low, high, limit, offset, newest_first):
        expected = self._select(low, high)
        assert self.state.count("t") == len(self.rows)
        if newest_first:
            expected.reverse()
        bounds = {"at_least": low, "below": high}
        found = self.state.entries("t", limit=limit, offset=offset, newest_first=newest_first, **bounds)
        assert found == expected[offset : offset + limit]

    @rule(size=st.integers(1, 4), low=BOUNDS, high=BOUNDS, newest_first=st.booleans(), dropped=st.sets(KEYS))
    def iterate_pages(self, size, low, high, newest_first, dropped):
        expected = self._select(low, high)
        if any(len(list(tied)) > size for _, tied in itertools.groupby(expected, key=lambda entry: entry.order)):
            dropped = set()  # Of more with the same order than a page has, some may be left out.
        options = {"newest_first": newest_first, "at_least": low, "below": high}
        found = []
        for page in self.state.iterate_pages("t", size=size, **options):
            assert len(page) <= size
            found += page
            for entry in page:
                if entry.key in dropped:  # What somebody removes who has seen it.
                    self.state.delete("t", entry.key)
                    del self.rows[entry.key]
        assert found == (expected[::-1] if newest_first else expected)

    @rule(key=KEYS)
    def get(self, key):
        assert self.state.get("t", key) == (self.rows[key].value if key in self.rows else None)
        assert self.state.get("another", key) is None

    def _select(self, low, high):
        rows = (entry for entry in self.rows.values() if low <= entry.order < high)
        return sorted(rows, key=lambda entry: (entry.order, entry.key))


@pytest.mark.parametrize("kind", STORAGES)
def test_a_table_does_what_a_dict_with_an_order_does(make_huey, kind):
    class Model(_Model):
        state = state_of(make_huey(kind))

    run_state_machine_as_test(
        Model, settings=settings(max_examples=examples(60), stateful_step_count=15, deadline=None)
    )


@pytest.mark.parametrize("kind", STORAGES)
def test_of_many_that_change_an_entry_at_once_none_is_lost_and_one_wins(make_huey, kind):
    state = state_of(make_huey(kind))
    state.put("t", "prize", b"1", order=0)
    start, won, added = threading.Barrier(4), [], []

    def work(number):
        start.wait()
        if state.remove("t", "prize", b"1"):
            won.append(number)
        if state.add("t", "claimed", b"%d" % number, order=0):
            added.append(number)
        for _ in range(10):
            state.update("t", "text", lambda present: (present or b"") + b"x", order=0)

    run_at_once(partial(work, number) for number in range(4))
    assert len(won) == len(added) == 1
    assert state.get("t", "text") == b"x" * 40


@pytest.mark.parametrize("kind", ["sqlite", "file", "postgres"])
def test_a_database_does_many_things_in_one_transaction(make_huey, kind, monkeypatch):
    state = state_of(make_huey(kind))
    begin, begun = state._storage.db, []
    monkeypatch.setattr(state._storage, "db", lambda *args, **options: begun.append(1) or begin(*args, **options))
    keys = [f"{number}" for number in range(20)]
    assert all(state.change_many([EntryChange("t", key, None, b"1", 0.0) for key in keys]))
    assert all(state.change_many([EntryChange("t", key, b"1", b"2", 0.0) for key in keys]))
    assert state.get_many("t", keys) == [b"2"] * 20
    assert state.change_many([]) == state.get_many("t", []) == []
    assert len(begun) == 3
    state.put("u", "a", b"", order=0.0)
    begun.clear()
    state.drop("t", "u")
    assert (len(begun), state.count("t"), state.count("u")) == (1, 0, 0)


def test_many_keys_are_looked_up_where_sqlite_takes_few_parameters(make_huey):
    huey = make_huey("sqlite")
    huey.storage.conn.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)  # The default of older versions.
    state, keys = state_of(huey), [f"{number}" for number in range(1200)]
    state.change_many([EntryChange("t", key, None, b"", 0) for key in keys[::2]])
    assert state.get_many("t", keys) == [b"", None] * 600


@pytest.mark.parametrize("remove", ["delete", "drop"])
def test_two_that_remove_the_same_never_wait_for_each_other(make_huey, remove):
    hueys = [make_huey("postgres") for _ in range(3)]
    for huey in hueys:
        huey.storage.name = hueys[0].storage.name
    third, *two = map(state_of, hueys)
    places = {name: ("t", name) if remove == "delete" else (name, "k") for name in "abc"}
    third.change_many([EntryChange(*place, None, b"", 0.0) for place in places.values()])

    def work(state, names):
        state.delete("t", *names) if remove == "delete" else state.drop(*names)

    with ThreadPoolExecutor() as threads:
        with third._change() as cursor:  # Holds the entry in the middle until both wait.
            third._delete_one(cursor, *places["b"])
            working = [threads.submit(work, state, names) for state, names in zip(two, ("abc", "cba"), strict=True)]
            waiting = 0
            while waiting < 2:
                cursor.execute("select count(*) from pg_locks where not granted")
                (waiting,) = cursor.fetchone()
        for done in working:
            done.result()  # Postgres ends one of two that wait for each other.


@pytest.mark.parametrize("kind", STORAGES)
def test_an_update_that_wants_no_change_makes_none(make_huey, kind):
    state = state_of(make_huey(kind))
    assert state.update("t", "a", lambda present: None) is None
    assert state.count("t") == 0
    state.put("t", "a", b"1", order=3)
    assert state.update("t", "a", lambda present: None) == b"1"
    assert state.update("t", "a", lambda present: b"2") == b"2"
    assert state.entries("t") == [Entry("a", b"2", 3.0)]


@pytest.mark.parametrize("kind", ["sqlite", "file", "redis", "postgres"])
def test_another_huey_on_the_storage_sees_the_tables_of_its_queue_alone(make_huey, kind, tmp_path):
    first, other = make_huey(kind), make_huey(kind)
    same = make_huey(kind)
    same.storage.name = first.storage.name
    state_of(first).put("t", "a", b"1", order=0)
    assert state_of(same).get("t", "a") == b"1"
    assert state_of(other).get("t", "a") is None
    state_of(other).put("t", "a", b"2", order=0)
    state_of(first).clear()
    assert state_of(same).get("t", "a") is None
    assert state_of(other).get("t", "a") == b"2"


@pytest.mark.parametrize("kind", STORAGES)
def test_a_dropped_table_leaves_the_others(make_huey, kind):
    state = state_of(make_huey(kind))
    state.put("t", "a", b"1", order=0)
    state.put("u", "a", b"2", order=0)
    state.drop("t")
    assert (state.get("t", "a"), state.get("u", "a")) == (None, b"2")


@pytest.mark.parametrize("kind", STORAGES)
def test_the_clock_of_the_storage_goes_forward(make_huey, kind):
    state = state_of(make_huey(kind))
    first = state.now()
    assert isinstance(first, float)
    assert first <= state.now()


def test_the_state_follows_the_storage_of_a_huey(make_huey):
    huey = make_huey("sqlite", immediate=False)
    state_of(huey).put("t", "a", b"1", order=0)
    huey.immediate = True
    assert state_of(huey).get("t", "a") is None
    huey.immediate = False  # Huey makes a storage anew.
    assert state_of(huey).get("t", "a") == b"1"


def test_a_flush_removes_everything():
    huey = MemoryHuey("q", immediate=False)
    state_of(huey).put("t", "a", b"1", order=0)
    huey.flush()
    assert state_of(huey).get("t", "a") is None


def test_an_unknown_storage_is_refused_by_its_name():
    huey = MemoryHuey("q", immediate=False)
    huey.storage = BlackHoleStorage("q")
    with pytest.raises(ConfigError, match=r"through the storage huey\.storage\.BlackHoleStorage"):
        state_of(huey)
    huey.flush()
