"""The serializer: what travels arrives as it was, nothing else travels, and bytes from a stranger run nothing."""

import collections
import contextlib
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import os
import pickle
import re
import subprocess
import sys
import tempfile
import tracemalloc
import uuid
import zlib
from pathlib import Path
from zoneinfo import ZoneInfo

import msgpack
import pytest
from huey import MemoryHuey
from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException
from huey.registry import Message
from huey.serializer import Serializer
from huey.utils import SKIPPED, Error
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.errors import ConfigError, MessageRejected, NotSerializable, ProviderUnavailable, RemoteTaskError
from aquila.huey import MemoryHuey as AquilaMemoryHuey
from aquila.huey.serializing import message_bounds, sendable_values, task_messages, wire_format
from aquila.huey.serializing.sendable_values import find_unsendable
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.serializing.wire_format import WireFormat
from aquila.huey.testing.wire_comparison import find_difference, is_plain_data
from tests.huey.sample_tasks import execute_all
from tests.support.examples import examples
from tests.support.slow import slow_but

SECRET = "a secret of thirty-two characters"

offsets = st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
moments = st.datetimes(timezones=st.none() | offsets, allow_imaginary=False)
folded = st.builds(lambda moment, fold: moment.replace(fold=fold), moments, st.integers(0, 1))
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | folded
    | st.timedeltas()
    | st.just(SKIPPED)
)
keys = st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.tuples(st.text(), st.integers(0, 9))
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=5)
        | st.builds(Error, st.dictionaries(st.text(), inner, max_size=3))
    ),
    max_leaves=25,
)
numbers = st.none() | st.integers(0, 1000) | st.floats(0, 1000) | st.booleans()
leaf_messages = st.builds(
    Message,
    id=st.text(),
    name=st.text(),
    eta=st.none() | st.datetimes(),
    retries=st.integers(0, 100),
    retry_delay=numbers,
    priority=numbers,
    args=st.lists(values, max_size=3).map(tuple),
    kwargs=st.dictionaries(st.text(), values, max_size=3),
    expires=numbers | st.datetimes() | st.timedeltas(),
    expires_resolved=st.none() | st.datetimes(),
    timeout=numbers,
    retry_backoff=numbers,
)
messages = st.recursive(
    leaf_messages,
    lambda inner: st.builds(
        Message._replace,
        leaf_messages,
        on_complete=st.none() | inner,
        on_error=st.none() | inner,
        chord_config=st.none() | st.tuples(st.text(), st.integers(0, 9), st.integers(0, 9), inner),
    ),
    max_leaves=4,
)


def same(sent, arrived):
    """Equal, of the same type all the way down: repr tells 1 from 1.0 and True, and calls two NaNs the same."""
    return type(sent) is type(arrived) and repr(sent) == repr(arrived)


@pytest.fixture(params=["plain", "compressed", "signed", "signed and compressed"])
def serializer(request):
    signing = {"secret": SECRET, "queue": "app"} if "signed" in request.param else {}
    return MsgpackSerializer(compression="compressed" in request.param, **signing)


ALL_SERIALIZERS = [
    MsgpackSerializer(compression=compression, **signing)
    for compression in (False, True)
    for signing in ({}, {"secret": SECRET, "queue": "app"})
]


@given(values)
@example([b"\xc7\x00\xf8", (1, (2,))])
def test_plain_data_is_what_needs_no_look_at_how_it_arrives(value):
    wire = MsgpackSerializer()
    if is_plain_data(value):
        for serializer in (wire, Serializer()):
            assert find_difference(value, serializer.deserialize(serializer.serialize(value)), "it") is None
    message = Message("id", "name", args=(value,), kwargs={"value": value})
    arrived = wire.deserialize(wire.serialize(message))
    assert find_difference((message.args, message.kwargs), (arrived.args, arrived.kwargs), "it") is None


@given(values)
@example(dt.datetime.min)
@example({1: {2: {}}, b"": (), "": [[]]})
@example([msgpack.ExtType(3, b"x"), msgpack.Timestamp(1)])
@settings(max_examples=examples(150))
@pytest.mark.slow
def test_any_plain_value_arrives_equal_and_of_the_same_type(value):
    for serializer in ALL_SERIALIZERS:
        assert same(value, serializer.deserialize(serializer.serialize(value)))


@given(messages)
@settings(max_examples=examples(60))
@pytest.mark.slow
def test_any_task_message_arrives_with_all_that_is_nested_in_it(message):
    for serializer in ALL_SERIALIZERS:
        assert same(message, serializer.deserialize(serializer.serialize(message), "task"))


@given(values)
@settings(max_examples=examples(50))
def test_equal_values_make_equal_bytes(value):
    for serializer in ALL_SERIALIZERS:
        assert serializer.serialize(value) == serializer.serialize(copy.deepcopy(value))


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Words(str):
    __slots__ = ()


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Document:
    title: str


REFUSED = {
    "set": ({1, 2}, "sorted"),
    "frozenset": (frozenset("a"), "sorted"),
    "decimal": (decimal.Decimal("1.5"), "str(...)"),
    "uuid": (uuid.UUID(int=1), "str(...)"),
    "date": (dt.date(2026, 1, 1), "isoformat"),
    "time": (dt.time(12), "isoformat"),
    "enum": (Colour.RED, ".value"),
    "int enum": (Level.LOW, ".value"),
    "named tuple": (Point(1, 2), "_asdict"),
    "str subclass": (Words("a"), "str(...)"),
    "ordered dict": (collections.OrderedDict(a=1), "dict(...)"),
    "counter": (collections.Counter("a"), "dict(...)"),
    "dataclass": (Document("a"), "asdict"),
    "object": (object(), "plain data"),
    "function": (len, "plain data"),
    "class": (Document, "plain data"),
    "bytearray": (bytearray(b"a"), "bytes(...)"),
    "memoryview": (memoryview(b"a"), "bytes(...)"),
    "int too large": (2**64, "64 bits"),
    "int too small": (-(2**63) - 1, "64 bits"),
    "lone surrogate": ("\ud800", "surrogate"),
    "named zone": (dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), "astimezone"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_arrive_changed_is_refused_with_its_place_and_a_remedy(case, serializer):
    value, remedy = REFUSED[case]
    message = Message(id="1", name="app.tasks.summarise", args=(1, {"body": [value]}), kwargs={})
    with pytest.raises(NotSerializable) as caught:
        serializer.serialize(message)
    assert "app.tasks.summarise: args[1]['body'][0]" in str(caught.value)
    assert remedy in str(caught.value)
    with pytest.raises(NotSerializable):
        serializer.serialize({"key": (value,)})


def test_a_task_that_no_worker_would_accept_is_refused_where_it_is_sent():
    task = Message(id="1", name="app.last", kwargs={}, timeout=dt.timedelta(seconds=3))
    first = Message(id="2", name="app.first", kwargs={}, on_complete=task)
    with pytest.raises(NotSerializable, match=r"app.first: on_complete is a task .*: field 'timeout' is timedelta"):
        MsgpackSerializer().serialize(first)


def test_a_scheduled_task_arrives_while_freezegun_stops_the_time(monkeypatch):
    class FakeDatetime(dt.datetime):
        """As freezegun puts it into every module, in the place of the class."""

    for module in (wire_format, sendable_values, task_messages):
        monkeypatch.setattr(module, "datetime", FakeDatetime)
    for kind in (
        FakeDatetime,
        dt.datetime,
    ):  # Huey's own are real ones before Python 3.12, and so are those of databases.
        task = Message(id="1", name="app.write", args=(), kwargs={}, eta=kind(2026, 1, 1))
        assert MsgpackSerializer().deserialize(MsgpackSerializer().serialize(task)) == task
        assert find_unsendable(task) is None


refused_values = st.sampled_from([value for value, _ in REFUSED.values()])
mixed = st.recursive(
    atoms | refused_values,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(mixed)
@settings(max_examples=examples(150))
def test_the_explanation_refuses_exactly_what_the_encoder_refuses(value):
    try:
        MsgpackSerializer().serialize(value)
        refused = False
    except NotSerializable:
        refused = True
    assert refused == (find_unsendable(value) is not None)


@pytest.mark.parametrize("make", [list, tuple], ids=["lists", "tuples"])
def test_what_is_nested_deeply_is_either_refused_at_once_or_arrives(make):
    serializer, travelled, refused = MsgpackSerializer(), 0, 0
    for depth in [1, 100, 400, *range(500, 530), *range(1015, 1030), 5000]:
        value = make()
        for _ in range(depth):
            value = make([value])
        try:
            data = serializer.serialize(value)
        except NotSerializable:
            refused += 1
        else:
            travelled += 1
            serializer.deserialize(data)
    assert travelled
    assert refused


def test_a_value_that_contains_itself_is_refused(serializer):
    loop: list = []
    loop.append(loop)
    with pytest.raises(NotSerializable, match="contains itself"):
        serializer.serialize(loop)


def test_a_long_pipeline_travels(serializer):
    message = None
    for number in range(300):
        message = Message(id=str(number), name="t", args=(), kwargs={}, on_complete=message)
    assert serializer.deserialize(serializer.serialize(message)) == message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3),
        KeyError("k"),
        OSError(2, "no such file", "x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        RetryTask("later", delay=5),
        CancelExecution("stop", retry=True),
        TaskLockedException("held"),
        RateLimitExceeded("k", 3.5),
        ProviderUnavailable("down", status=503, request_id="r1"),
        RemoteTaskError("app.Odd", "text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_of_python_huey_or_aquila_arrives_as_itself(error, serializer):
    arrived = serializer.deserialize(serializer.serialize((error,)))[0]
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


class PaymentFailed(Exception):
    def __init__(self, amount):
        super().__init__(amount)
        self.amount = amount

    def __str__(self):
        return f"could not take {self.amount}"


class Hopeless(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


def test_an_exception_of_the_user_arrives_by_name_and_text_or_as_itself_when_registered():
    error = PaymentFailed(12)
    arrived = MsgpackSerializer().deserialize(MsgpackSerializer().serialize(error))
    assert isinstance(arrived, RemoteTaskError)
    assert arrived.type_name.endswith("PaymentFailed")
    assert arrived.text == "could not take 12"
    knowing = MsgpackSerializer(exceptions=[PaymentFailed])
    arrived = knowing.deserialize(knowing.serialize(error))
    assert isinstance(arrived, PaymentFailed)
    assert arrived.amount == 12


@pytest.mark.parametrize("error", [ValueError(object()), ValueError({1}), Hopeless(), ValueError(["\ud800"])])
def test_an_exception_always_travels_whatever_it_holds(error, serializer):
    arrived = serializer.deserialize(serializer.serialize(error))
    assert isinstance(arrived, RemoteTaskError)
    assert arrived.type_name.endswith(type(error).__name__)


def test_a_task_with_an_error_handler_keeps_its_retry_when_it_fails_with_an_odd_exception():
    huey = MemoryHuey(serializer=MsgpackSerializer())
    seen = []

    @huey.task()
    def on_error(error):
        seen.append(error)

    @huey.task(retries=1)
    def task():
        raise PaymentFailed(object())

    huey.enqueue(task.s().error(on_error))
    execute_all(huey)
    assert [type(error) for error in seen] == [RemoteTaskError, RemoteTaskError]


# Bytes from a stranger


@given(st.binary(max_size=200))
@settings(max_examples=examples(200))
def test_random_bytes_are_rejected_by_name(data):
    for serializer in ALL_SERIALIZERS:
        with pytest.raises(MessageRejected):
            serializer.deserialize(data)


@given(st.binary(max_size=300), st.integers(0, 7))
@settings(max_examples=examples(300))
def test_random_bytes_behind_a_valid_header_raise_nothing_but_a_rejection(payload, flags):
    for serializer in ALL_SERIALIZERS:
        with contextlib.suppress(MessageRejected):
            serializer.deserialize(b"\xc1q\x01" + bytes([flags]) + payload)


@given(messages, st.data())
@settings(max_examples=examples(80))
@pytest.mark.slow
def test_an_altered_message_is_rejected_when_signed(message, data):
    serializer = MsgpackSerializer(SECRET, queue="app", compression=True)
    sent = bytearray(serializer.serialize(message))
    position = data.draw(st.integers(0, len(sent) - 1))
    sent[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MessageRejected):
        serializer.deserialize(bytes(sent))
    with pytest.raises(MessageRejected):
        serializer.deserialize(serializer.serialize(message)[:position])


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_pickle_is_named_and_never_loaded(serializer):
    with pytest.raises(MessageRejected, match="pickle"):
        serializer.deserialize(pickle.dumps(Bomb()))


def envelope(value, flags=0, **options):
    return b"\xc1q\x01" + bytes([flags]) + msgpack.packb(value, **options)


def mark(code):
    return tuple.__new__(msgpack.ExtType, (code, b""))


@pytest.mark.parametrize(
    "value",
    [
        mark(-8),
        [1, mark(-6)],
        {"a": mark(-6)},
        [mark(-6), mark(-6)],
        [mark(-8), 1, 2, 3],
        [mark(-8), *["x"] * 40],
        [mark(-7)],
        [mark(-7), "not a dict"],
        [mark(-5), "builtins.ValueError"],
        [mark(-5), 1, "", [], {}],
        [mark(-5), "builtins.ValueError", "", "args", {}],
        tuple.__new__(msgpack.ExtType, (-3, b"not a date")),
        tuple.__new__(msgpack.ExtType, (-3, b"\xff")),
        tuple.__new__(msgpack.ExtType, (-2, b"xx")),
        tuple.__new__(msgpack.ExtType, (-2, b"\x7f\xff\xff\xff" * 3)),
        tuple.__new__(msgpack.ExtType, (-100, b"")),
    ],
    ids=repr,
)
def test_a_malformed_record_is_rejected(value):
    for flags in (0, 4):
        with pytest.raises(MessageRejected):
            MsgpackSerializer().deserialize(envelope(value, flags))


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "builtins.SystemExit", "subprocess.Popen", "builtins.int"]
)
def test_a_name_that_is_no_known_exception_is_not_looked_up(name):
    value = MsgpackSerializer().deserialize(envelope([mark(-5), name, "text", ["echo"], {}]))
    assert type(value) is RemoteTaskError
    assert value.type_name == name


def test_deep_nesting_cannot_overflow_the_stack():
    for head in (b"\x91", b"\x81\xa1a", b"\x92\xc7\x00\xfa"):
        with pytest.raises(MessageRejected):
            MsgpackSerializer().deserialize(b"\xc1q\x01\x00" + head * 200_000 + b"\xc0")


def test_a_length_that_lies_allocates_nothing():
    for lie in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\xfa"):
        with pytest.raises(MessageRejected):
            MsgpackSerializer().deserialize(b"\xc1q\x01\x00" + lie)


@pytest.mark.slow
def test_decompression_stops_at_the_limit():
    bomb = b"\xc1q\x01\x01" + zlib.compress(b"\xc6" + (200_000_000).to_bytes(4, "big") + b"\0" * 200_000_000, 1)
    with pytest.raises(MessageRejected, match="larger than the limit"):
        MsgpackSerializer(max_size=1000, compression=True).deserialize(bomb)
    with pytest.raises(MessageRejected, match="larger than the limit"):
        MsgpackSerializer(max_size=1000).deserialize(b"\xc1q\x01\x00" + b"\xc0" * 1100)


def test_what_is_compressed_is_read_only_where_that_was_asked_for_or_it_is_signed(monkeypatch):
    plain, asked = MsgpackSerializer(), MsgpackSerializer(compression=True)
    signing = {"secret": SECRET, "queue": "app"}
    assert MsgpackSerializer(**signing).deserialize(MsgpackSerializer(compression=True, **signing).serialize("x" * 999))
    sent = asked.serialize("x" * 999)
    assert asked.deserialize(sent) == "x" * 999
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("decompressed what nobody asked for"))
    with pytest.raises(MessageRejected, match="compressed and unsigned"):
        plain.deserialize(sent)


def deep(head, levels, bottom=b"\xc0"):
    return head * levels + bottom


BOMBS = {
    "empty lists": lambda: b"\xdd" + (4_000_000).to_bytes(4) + b"\x90" * 4_000_000,
    "empty dictionaries": lambda: b"\xdd" + (4_000_000).to_bytes(4) + b"\x80" * 4_000_000,
    "pairs": lambda: (
        b"\xdf" + (400_000).to_bytes(4) + b"".join(b"\xce" + n.to_bytes(4) + b"\x90" for n in range(400_000))
    ),
    "lists in lists": lambda: b"\xdc\x03\xe8" * 2 + (b"\x9f" + b"\x90" * 15) * 300_000,
    "lists that announce millions": lambda: (b"\xdd" + (4_000_000).to_bytes(4)) * 900 + b"\xc0" * 4_000_000,
    "texts": lambda: b"\xdd" + (2_000_000).to_bytes(4) + b"\xa1x" * 2_000_000,
    "spans": lambda: b"\xdd" + (400_000).to_bytes(4) + b"\xc7\x0c\xfe" + bytes(12) * 400_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("compressed", slow_but([True], [True, False]))
def test_a_message_of_too_many_objects_is_rejected_before_any_is_built(bomb, compressed, monkeypatch):
    data = BOMBS[bomb]()
    message = b"\xc1q\x01\x01" + zlib.compress(data, 1) if compressed else b"\xc1q\x01\x00" + data
    monkeypatch.setattr(msgpack, "unpackb", lambda *arguments, **options: pytest.fail("built something"))
    with pytest.raises(MessageRejected, match="more than 250,000 objects"):
        MsgpackSerializer(compression=True).deserialize(message)


def test_a_small_message_cannot_take_much_memory(monkeypatch):
    """The worst that fits below the size from which messages are looked through."""
    for bomb in (b"\xdc\x0f\xf0" + b"\x90" * 4080, b"\xdc\x08\x00" * 1000 + b"\xc0" * 1000):
        tracemalloc.start()
        with contextlib.suppress(MessageRejected):
            MsgpackSerializer().deserialize(b"\xc1q\x01\x00" + bomb)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
        tracemalloc.stop()


@given(values, st.integers(0, 60))
@settings(max_examples=examples(100))
def test_objects_are_counted_as_they_are(value, most):
    """Told from the bytes alone, and as many as msgpack builds."""
    data = WireFormat(max_objects=10**9).dumps(value)
    heads = Counting(data)
    assert _holds_more(data, heads.objects - 1)
    assert not _holds_more(data, heads.objects)
    assert _holds_more(data, most) == (heads.objects > most)


def _holds_more(data, most):
    return message_bounds.holds_more_objects(data, most) if len(data) > most else False


class Counting:
    """Counts the objects of bytes in msgpack form with the library, one after the other."""

    def __init__(self, data):
        self.objects = 0

        def count_items(items):
            self.objects += len(items)

        def count_pairs(pairs):
            self.objects += 2 * len(pairs)

        msgpack.unpackb(
            data, list_hook=count_items, object_pairs_hook=count_pairs, ext_hook=lambda *_: None, strict_map_key=False
        )
        self.objects += 1


@functools.cache
def colliding_keys(count):
    """Tuples of two numbers that have one hash, as a stranger computes them."""
    prime1, prime2, prime5, mask = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64 - 1
    wanted, found, first = 12345, [], 0
    before = (wanted - (2 ^ (prime5 ^ 3527539))) & mask
    before = before * pow(prime1, -1, 2**64) & mask
    before = (before >> 31 | before << 33) & mask
    while len(found) < count:
        first += 1
        lane = (prime5 + first * prime2) & mask
        lane = (lane << 31 | lane >> 33) & mask
        lane = lane * prime1 & mask
        second = (before - lane) * pow(prime2, -1, 2**64) & mask
        if second < 2**61 - 1:
            found.append((first, second))
    return found


def test_keys_that_all_have_one_hash_are_refused_at_the_producer():
    keys = colliding_keys(2000)
    assert len({hash(key) for key in keys}) == 1
    with pytest.raises(NotSerializable, match="send a list of pairs"):
        MsgpackSerializer().serialize(dict.fromkeys(keys, 1))
    few = dict.fromkeys(keys[:1000], 1)
    assert MsgpackSerializer().deserialize(MsgpackSerializer().serialize(few)) == few


# The marker of a tuple with its length in one, two and four bytes. msgpack writes the shortest; a stranger need not.
@pytest.mark.parametrize("head", [b"\xc7\0", b"\xc8\0\0", b"\xc9\0\0\0\0"])
def test_keys_that_all_have_one_hash_are_rejected_before_they_cost_anything(head):
    keys = colliding_keys(2000)
    pairs = b"".join(b"\x93" + head + b"\xfa" + b"".join(map(msgpack.packb, key)) + b"\x01" for key in keys)
    with pytest.raises(MessageRejected, match="send a list of pairs"):
        MsgpackSerializer().deserialize(b"\xc1q\x01\x00\xdf" + len(keys).to_bytes(4) + pairs)


def test_a_date_in_another_form_than_this_serializer_writes_is_rejected():
    """Of 16 bytes it would have a head of its own, which is not counted as that of an unusual key."""
    for text in (b"2026-11-29T12:00", b"20261129", b"20261129T120000Z"):
        data = b"\xc1q\x01\x00" + b"\xc7" + len(text).to_bytes(1) + b"\xfd" + text
        with pytest.raises(MessageRejected, match="not a message of this serializer"):
            MsgpackSerializer().deserialize(data)


def test_a_pipeline_that_is_nested_too_deeply_is_rejected_by_the_queue():
    huey = AquilaMemoryHuey("app")
    huey.task(name="t")(print)
    name = next(iter(huey._registry._registry))
    message = None
    for number in range(480):
        message = Message(id=str(number), name=name, args=(), kwargs={}, on_complete=message)
    huey.storage.enqueue(huey.serializer.serialize(message))
    try:
        sys.setrecursionlimit(400)
        with pytest.raises(MessageRejected, match="nested too deeply"):
            huey.deserialize_task(huey.storage.dequeue())
    finally:
        sys.setrecursionlimit(1000)


def test_a_value_of_too_many_objects_fails_at_the_producer():
    with pytest.raises(NotSerializable, match=r"more than 250,000 objects.*max_objects="):
        MsgpackSerializer().serialize(list(range(250_001)))
    many = MsgpackSerializer(max_objects=300_000)
    assert len(many.deserialize(many.serialize(list(range(250_001))))) == 250_001
    assert MsgpackSerializer(SECRET, max_objects=300_000).for_queue("app").serialize(list(range(250_001)))


def test_nothing_is_decompressed_before_the_signature_is_checked(monkeypatch):
    serializer = MsgpackSerializer(SECRET, queue="app", compression=True)
    sent = bytearray(serializer.serialize("x" * 10_000))
    sent[-1] ^= 1
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("decompressed unverified bytes"))
    with pytest.raises(MessageRejected, match="signature"):
        serializer.deserialize(bytes(sent))
    with pytest.raises(MessageRejected, match="unsigned"):
        serializer.deserialize(MsgpackSerializer(compression=True).serialize("x" * 10_000))


def test_a_message_over_the_limit_fails_at_the_producer():
    with pytest.raises(NotSerializable, match="limit is 100"):
        MsgpackSerializer(max_size=100).serialize("x" * 101)


# Signing


def test_a_signature_is_bound_to_the_queue():
    sent = MsgpackSerializer(SECRET, queue="billing").serialize("x")
    with pytest.raises(MessageRejected, match="another queue"):
        MsgpackSerializer(SECRET, queue="app").deserialize(sent)


def test_a_signature_is_bound_to_the_purpose():
    serializer = MsgpackSerializer(SECRET, queue="app")
    task = serializer.serialize(Message(id="1", name="t", args=(), kwargs={}))
    value = serializer.serialize({"a": 1})
    with pytest.raises(MessageRejected, match="sent as a value"):
        serializer.deserialize(value, "task")
    with pytest.raises(MessageRejected, match="sent as a task"):
        serializer.deserialize(task, "value")
    for sent in (task, value):
        relabelled = sent[:3] + bytes([sent[3] ^ 4]) + sent[4:]
        with pytest.raises(MessageRejected, match="signature"):
            serializer.deserialize(relabelled)


def test_signatures_of_earlier_versions_stay_valid():
    # While a project is updated, producers and workers of two versions share the queue.
    serializer = MsgpackSerializer(SECRET, queue="app")
    signed = bytes.fromhex("c17101027e679b5774ec82ab1a7e1350229560f6ff53d26c8e03dcf8faebecbf653870b5a178")
    assert (serializer.serialize("x"), serializer.deserialize(signed)) == (signed, "x")


def test_an_unsigned_message_that_lies_about_its_purpose_is_rejected():
    serializer = MsgpackSerializer()
    with pytest.raises(MessageRejected, match="holds something else"):
        serializer.deserialize(envelope({"a": 1}, flags=4))


def test_secrets_rotate():
    old, new = "the old secret of the queue", "the new secret of the queue"
    before, during, after = (MsgpackSerializer(secret, queue="app") for secret in (old, [new, old], new))
    assert during.deserialize(before.serialize("x")) == "x"
    assert after.deserialize(during.serialize("x")) == "x"
    with pytest.raises(MessageRejected):
        after.deserialize(before.serialize("x"))


def test_one_side_without_the_secret_says_so():
    signed, plain = MsgpackSerializer(SECRET, queue="app"), MsgpackSerializer()
    with pytest.raises(MessageRejected, match="no secret"):
        plain.deserialize(signed.serialize("x"))
    with pytest.raises(MessageRejected, match="unsigned"):
        signed.deserialize(plain.serialize("x"))


@pytest.mark.parametrize("secret", ["", "short", b"fifteen bytes..", []])
def test_a_secret_that_is_too_short_is_refused_with_the_command_that_makes_one(secret):
    with pytest.raises(ConfigError, match=re.escape("secrets.token_hex")) as caught:
        MsgpackSerializer(secret, queue="app")
    assert not secret or str(secret) not in str(caught.value)


@pytest.mark.parametrize("secret", [bytearray(SECRET.encode()), memoryview(SECRET.encode()), [SECRET, 32], 32])
def test_a_secret_that_is_neither_text_nor_bytes_is_refused(secret):
    """A sequence of numbers would make keys of as many zeros, which anybody could sign with."""
    with pytest.raises(ConfigError, match="secret= is text or bytes"):
        MsgpackSerializer(secret, queue="app")


def test_a_serializer_of_a_class_of_one_s_own_keeps_it_when_it_is_bound():
    class Own(MsgpackSerializer):
        pass

    huey = AquilaMemoryHuey("app", serializer=Own(SECRET))
    assert type(huey.serializer) is Own
    assert huey.serializer.deserialize(MsgpackSerializer(SECRET, queue="app").serialize(7)) == 7


def test_a_secret_without_a_queue_is_refused_on_use_until_it_is_bound():
    unbound = MsgpackSerializer(SECRET)
    with pytest.raises(ConfigError, match="queue="):
        unbound.serialize("x")
    bound = unbound.for_queue("app")
    assert MsgpackSerializer(SECRET, queue="app").deserialize(bound.serialize("x")) == "x"
    assert bound.for_queue("other") is bound


def test_the_secret_is_not_in_the_repr():
    assert SECRET not in repr(MsgpackSerializer(SECRET, queue="app"))


@pytest.mark.slow
def test_hueys_own_suite_passes_with_this_serializer_and_with_the_mix_in():
    suite = str(Path(__file__).with_name("own_suite.py"))
    # Its databases are where it runs; in memory they cost no waiting for a disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        running = {}
        for mode in ("serializer", "mixed"):
            Path(folder, mode).mkdir()
            running[mode] = subprocess.Popen(
                [sys.executable, suite, mode], cwd=Path(folder, mode), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        for mode, process in running.items():
            output, errors = process.communicate(timeout=200)
            assert process.returncode == 0, f"{mode}: {errors[-3000:]}"
            ran, skipped = map(int, re.findall(r"ran (\d+) skipped (\d+)", output)[0])
            assert ran - skipped > 200


@pytest.mark.parametrize("head", [b"\xc7\x00", b"\xc8\x00\x00", b"\xc9\x00\x00\x00\x00"], ids=bytes.hex)
def test_a_marker_that_is_written_in_another_way_is_a_marker_and_no_argument(head):
    serializer = MsgpackSerializer()
    data = serializer.serialize(Message("the id", "the name", args=(1, 2), kwargs={"odd": 3}))
    error, of_tuple = head + b"\xf9", head + b"\xfa"
    for value in (error, b"\x92\x01" + error):
        for old in (b"\x02\x81", b"\x03"):  # an argument, a keyword
            assert data.count(old) == 1
            with pytest.raises(MessageRejected, match="a marker of a type"):
                serializer.deserialize(data.replace(old, value + old[1:]))
    forged = data.replace(b"\x02\x81", b"\x92" + of_tuple + b"\x07\x81")
    assert serializer.deserialize(forged).args == (1, (7,))


@pytest.mark.parametrize("secret", [None, "0123456789abcdef"])
def test_bytes_behind_a_compressed_message_are_refused(secret):
    serializer = MsgpackSerializer(secret, queue="app", compression=True)
    message = serializer.serialize({"text": "eagle " * 500})
    assert serializer.deserialize(message) == {"text": "eagle " * 500}
    with pytest.raises(MessageRejected, match=r"something follows its end|the signature does not match"):
        serializer.deserialize(message + b"x")
    with pytest.raises(MessageRejected, match=r"cut short|the signature does not match"):
        serializer.deserialize(message[:-1])
