"""The targets: messages, journals, cassettes and copies that a stranger wrote; and secrets anywhere in a recording."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage import journal, journal_entries
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.errors import CassetteError, MessageRejected
from aquila.huey.instances import MemoryHuey
from aquila.huey.scopes.scope_reference import KEY
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.recording import scope as scopes
from aquila.recording.runtime import run_key
from aquila.recording.storing.interrupted_runs import recover_journals
from tests.cassettes.codecs.test_fuzz import MSGPACK_HEAD, check_types, seeds
from tests.support.cassettes import cut
from tests.support.compiled_copies import load_compiled
from tests.support.mutations import mutate
from tests.support.runs import separate_run

executed: Counter[str] = Counter()
"""How many inputs each target was given. A run fails if it gave a target none."""

SECRET = "a secret of thirty-two characters"
SERIALIZERS = [
    MsgpackSerializer(compression=compression, max_objects=1000, **signing)
    for compression in (False, True)
    for signing in ({}, {"secret": SECRET, "queue": "app"})
]
SCOPE, OTHER = "0123456789abcdef", "fedcba9876543210"
dice = st.randoms(use_true_random=False)


def counted(target: Callable[..., None]) -> Callable[..., None]:
    """Count the inputs of a target."""

    @functools.wraps(target)
    def count_and_run(*arguments: Any, **keywords: Any) -> None:
        executed[target.__name__] += 1
        target(*arguments, **keywords)

    return count_and_run


# Messages

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
packable = st.recursive(
    scalars
    | st.builds(
        lambda code, data: tuple.__new__(msgpack.ExtType, (code, data)), st.integers(-9, 9), st.binary(max_size=12)
    ),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=40,
)


@functools.cache
def message_seeds() -> list[bytes]:
    """Messages as they are: of a task, of a value, of an exception; plain, compressed and signed."""
    huey = MemoryHuey("app")
    task = huey.task(name="t")(print)
    follows = task.s(1, {"a": [1.5, b"x", None]}, b=(1, 2)).then(task, 3).error(task.s())
    values = [{"a": (1, [2, {}])}, ValueError("x", 1), OSError(2, "no", "f"), [b"1", "h", 1, 1.0]]
    tasks = [huey.serialize_task(one) for one in (task.s(), follows)]
    return tasks + [serializer.serialize(value) for serializer in SERIALIZERS for value in values]


@given(dice, st.none() | packable, st.integers(0, 255))
@counted
def messages(dice: random.Random, value: Any, flags: int) -> None:
    """Any bytes in a queue are a value, or rejected by that name."""
    if value is None:
        data = mutate(message_seeds(), dice)
    else:
        payload = msgpack.packb(value)
        data = b"\xc1q\x01" + bytes([flags]) + (zlib.compress(payload) if flags & 1 else payload)
    for serializer in SERIALIZERS:
        try:
            serializer.deserialize(data)
        except MessageRejected:
            continue


words = st.sampled_from(
    [
        SCOPE,
        "one",
        "../one",
        "/etc/passwd",
        "live",
        "record",
        "replay",
        "local",
        "os:system",
        "all",
        "body",
        "x:y",
        "off",
        "",
    ]
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.just(SCOPE) | words | packable,
        "name": words | packable,
        "default": words | st.none() | packable,
        "transport": words | packable,
        "from": words | packable,
        "options": st.dictionaries(
            st.sampled_from(
                [
                    "match_on",
                    "ignore",
                    "ignore_query",
                    "normalize",
                    "repeat",
                    "record",
                    "transport",
                    "cassette_dir",
                    "upstream",
                    "guard",
                ]
            ),
            words | st.lists(words, max_size=3) | packable,
            max_size=3,
        ),
        "refused": words | packable,
    },
)
sound = {"scope": SCOPE, "name": "t", "default": "one", "transport": "replay", "from": "x", "options": {}}


@given(fields, st.booleans(), st.sampled_from(["replay", "record", "live"]))
@counted
def references(changes: dict[str, Any], sealed: bool, own: str) -> None:
    """No reference moves a worker from what it was started for, and none leads out of its folder."""
    text = json.dumps({**sound, **changes}, default=repr, skipkeys=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        separate_run(Path(folder), defaults={"transport": own}, under_pytest=True),
    ):
        huey, seen = MemoryHuey("app"), []

        @huey.task(name="t")
        def task(**keywords: Any) -> None:
            scope = scopes.current_scope()
            assert scope is not None
            seen.append((scope.settings, scope.sessions.refusal))

        message = task.s(**{KEY: (run_key().make_seal(text) if sealed else "0" * 32) + text})
        message._aquila_scope = None
        huey.storage.enqueue(huey.serialize_task(message))
        try:
            received = huey.dequeue()
            if received is None:  # what is malformed is a dead letter
                return
            huey.execute(received)
        except MessageRejected:
            return
        ((settings, refusal),) = seen
        assert refusal is not None or sealed
        assert settings.transport in (own, "replay")
        for name in ("record", "cassette_dir", "upstream", "guard", "root", "base_url", "api_key", "durable"):
            assert getattr(settings, name) == getattr(separate_run(Path(folder)).layers.resolve(), name)
        assert not [*Path(folder).rglob("*")]


# Journals and cassettes


def interaction(answer: bytes) -> Interaction:
    """A recording with an answer."""
    request = RecordedRequest("POST", "https://api.example/v1", (("content-type", "application/json"),), b'{"p":1}')
    return Interaction(request, RecordedResponse(200, (("x", "y"),), (RecordedChunk(answer, 5),), "complete", "", 1, 9))


def leave_journal(root: Path, scope: str, name: str) -> Path:
    """Leave a journal as a killed run does."""
    recorded, rules = interaction(b"answer"), MatchRules()
    left = journal.Journal(root, scope)
    for at in range(2):
        row = NewRecording(key_of(recorded.request, rules), at, at, recorded)
        left.append_entry(JournalEntry(name, "missing", "last", rules, row))
    left.close()
    (path,) = journal.find_journals_of(root, scope)
    return path


@functools.cache
def journal_seeds() -> tuple[bytes, tuple[bytes, ...]]:
    """A journal as it is, and the payloads of its entries."""
    with tempfile.TemporaryDirectory() as folder:
        data = leave_journal(Path(folder), SCOPE, "hostile").read_bytes()
    return data, tuple(journal_entries.split_frames(data[1:])[0])


entry_values = st.sampled_from(
    ["x", "../x", "missing", "all", "replay", "last", 0, -1, 2**63, None, [], ["body"], [[]], {}, b"", 1.5]
)


@given(dice, st.sampled_from(["bytes", "frames", "fields"]), st.lists(entry_values, max_size=14), packable)
@counted
def journals(dice: random.Random, kind: str, values: list[Any], other: Any) -> None:
    """Any journal is taken over or named, and the one beside it is taken over."""
    whole, payloads = journal_seeds()
    if kind == "bytes":
        data = mutate([whole], dice)
    else:
        payload = mutate(payloads, dice)
        if kind == "fields":
            good = msgpack.unpackb(payloads[0])
            for value in values:
                good[dice.randrange(len(good))] = value
            payload = msgpack.packb(good if values else other)
        data = b"\0" + len(payload).to_bytes(4) + zlib.crc32(payload).to_bytes(4) + payload
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project", "cassettes")
        with separate_run(root.parent):
            leave_journal(root, OTHER, "good")
            (root / ".journal" / f"{SCOPE}.1-0123456789abcdef.journal").write_bytes(data)
            recovered = recover_journals(root)
        assert (root / "good.yaml", 2) in recovered.cassettes, recovered
        assert [path.name for path in Path(folder).iterdir()] == ["project"]
        assert [path.name for path in root.parent.iterdir()] == ["cassettes"]


@given(dice, st.sampled_from([".yaml", ".msgpack"]), st.none() | packable)
@counted
def cassettes(dice: random.Random, suffix: str, value: Any) -> None:
    """Any bytes are a cassette, or refused by that name; also those whose checksum fits."""
    data = mutate(seeds(suffix), dice)
    if suffix == ".msgpack" and dice.random() < 0.8:
        payload = msgpack.packb(value) if value is not None else mutate([seed[14:] for seed in seeds(suffix)], dice)
        data = MSGPACK_HEAD + zlib.crc32(payload).to_bytes(4) + payload
    try:
        check_types(codec_for(Path("x" + suffix)).loads(data, source="x"))
    except CassetteError:
        return


@given(dice)
@counted
def copies(dice: random.Random) -> None:
    """Whatever lies in place of a compiled copy, the answer is that of the cassette."""
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "x.yaml"), Path(folder, "cache")
        path.write_bytes(dice.choice(seeds(".yaml")))
        true = load_compiled(path, cache)
        (copy,) = cache.iterdir()
        copy.write_bytes(mutate([copy.read_bytes()], dice))
        assert load_compiled(path, cache) == true


# Redaction

keys = st.builds(
    lambda number, size: hashlib.sha512(str(number).encode()).hexdigest()[:size], st.integers(), st.integers(24, 60)
)
"""Secrets as they are: no words, and not all of one letter, which are left alone."""
frames = st.sampled_from(
    ["{}", '{{"a":"{}"}}', '{{"messages":[{{"content":"it is {}!"}}]}}', "key={}&b=1", "data: {{\"delta\":\"{}\"}}\n\n",
     "event: x\ndata: {}\n\n", "<a>{}</a>", "Bearer {}", "{} {}", "[\"{}\",1]"]
)  # fmt: skip
prose = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@given(keys, frames, prose, prose, st.lists(st.integers(0, 500), max_size=6))
@counted
def redaction(secret: str, frame: str, before: str, after: str, places: list[int]) -> None:
    """A known secret is in nothing that is kept, wherever it stood and however it was cut; and twice is as once."""
    redactor = Redactor.from_environment({"SOME_KEY": secret})
    body = before.encode() + frame.format(secret, secret).encode() + after.encode()
    chunks = cut(body, places)
    request = RecordedRequest("POST", f"https://api.example/v1?q={secret}", (("x-a", secret),), body)
    once = redactor.redact_interaction(
        Interaction(request, RecordedResponse(200, (("x-a", secret),), chunks, "broken", secret))
    )
    kept = [
        once.request.url,
        once.response.error,
        *[value for pair in (*once.request.headers, *once.response.headers) for value in pair],
    ]
    assert not any(secret in text for text in kept)
    assert secret.encode() not in once.request.body
    assert secret.encode() not in once.response.body
    assert redactor.redact_interaction(once) == once


TARGETS = (messages, references, journals, cassettes, copies, redaction)
"""Every target. A new one stands here, and is run."""
