"""For all conversations: a client that follows the recording gets its frames, and one that does not gets a miss."""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.model import End
from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.cassettes.web_socket_frames.replay import ConversationReplay
from tests.cassettes.web_socket_frames.conversations import received, replay_of, send, sent, values_of
from tests.support.examples import examples

STREAMS = [None, None, "s1", "s2"]
bodies = st.fixed_dictionaries({"type": st.sampled_from("abc"), "n": st.integers(0, 3)})
ENDINGS: list[tuple[Close | None, End, object]] = [
    (Close("provider", 1000), "complete", Close("provider", 1000)),
    (Close("client", 1001, "bye"), "complete", Close("client", 1001, "bye")),
    (None, "broken", "broken"),
    (None, "silent", "left"),
]


def in_stream(stream: str | None, body: Any) -> Any:
    return {**body, "stream_id": stream} if stream else body


def append(data: bytes) -> Any:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}


@st.composite
def client_frames(draw: st.DrawFn) -> Frame:
    kind = draw(st.sampled_from(["json", "json", "json", "sound", "binary", "text"]))
    if kind == "binary":
        return sent(b"\0" + draw(st.binary(max_size=3)), is_text=False)
    if kind == "text":
        return sent(draw(st.sampled_from([b"hello", b"", b"1", b"[1]"])))
    body = append(draw(st.binary(max_size=4))) if kind == "sound" else draw(bodies)
    return sent(in_stream(draw(st.sampled_from(STREAMS)), body))


provider_frames = st.builds(lambda stream, body: received(in_stream(stream, body)), st.sampled_from(STREAMS), bodies)
conversations = st.lists(client_frames() | provider_frames, max_size=20)


def stream_of(frame: Frame) -> str | None:
    return next((name for name in ("s1", "s2") if f'"stream_id": "{name}"'.encode() in frame.data), None)


def sound_of(frame: Frame) -> bytes | None:
    if not frame.is_text:
        return frame.data
    if b"input_audio" not in frame.data:
        return None
    return base64.b64decode(frame.data.partition(b'"audio": "')[2].partition(b'"')[0])


def cut_anew(frames: list[Frame], draw: st.DrawFn) -> list[Frame]:
    """Cut the sound in the messages of one lane otherwise."""
    result: list[Frame] = []
    run: list[Frame] = []

    def cut_run() -> Iterator[Frame]:
        data, stream, is_text = b"".join([sound_of(frame) or b"" for frame in run]), stream_of(run[0]), run[0].is_text
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            piece = data[begin:end]
            yield sent(in_stream(stream, append(piece)) if is_text else piece, is_text=is_text)

    for frame in frames:
        if run and (sound_of(frame) is None or frame.is_text != run[0].is_text):
            result += cut_run()
            run.clear()
        (run if sound_of(frame) is not None else result).append(frame)
    return [*result, *cut_run()] if run else result


class Driver:
    """A client that sends what was recorded, its lanes in any order, and notes what it gets."""

    def __init__(self, frames: list[Frame], replay: ConversationReplay, draw: st.DrawFn, *, cuts: bool) -> None:
        self._replay = replay
        self._draw = draw
        self._cuts = cuts
        self._is_speaking: dict[str | None, bool] = defaultdict(bool)
        self.got: list[Frame] = []
        self.queues: dict[str | None, list[Frame]] = defaultdict(list)
        for frame in frames:
            if frame.sent:
                self.queues[stream_of(frame)].append(frame)
        if cuts:
            self.queues = {name: cut_anew(queue, draw) for name, queue in self.queues.items()}

    def choose(self) -> str | None:
        return self._draw(st.sampled_from([name for name, queue in self.queues.items() if queue]))

    def send_next(self, name: str | None) -> Any:
        frame = self.queues[name].pop(self._find_due(name) if self._cuts else 0)
        self._is_speaking[name] = frame.is_text and sound_of(frame) is not None
        return self._replay.take_sent(frame.data, frame.is_text)

    def _find_due(self, name: str | None) -> int:
        """Which message comes next: while it speaks, one that has nothing to do with that may come first."""
        queue = self.queues[name]
        ahead = next((at for at, frame in enumerate(queue) if sound_of(frame) is None or not frame.is_text), 0)
        floats = ahead < len(queue) and queue[ahead].data.startswith(b'{"type": ')
        return ahead if self._is_speaking[name] and floats and self._draw(st.booleans()) else 0

    def receive(self) -> None:
        self.got += self._replay.deliverable()

    @property
    def is_done(self) -> bool:
        return not any(self.queues.values())


@given(conversations, st.sampled_from(ENDINGS), st.data())
@settings(max_examples=examples(200), deadline=None)
def test_a_client_that_follows_the_recording_gets_the_recorded_frames(
    frames: list[Frame], ending: tuple[Close | None, End, object], data: st.DataObject
) -> None:
    close, end, expected = ending
    replay = replay_of(*frames, *([close] if close else []), end=end)
    driver = Driver(frames, replay, data.draw, cuts=True)
    while not driver.is_done:
        if data.draw(st.booleans()):
            driver.receive()
        assert driver.send_next(driver.choose()) is None
    driver.receive()
    assert replay.ended == expected
    assert replay.awaited is None
    recorded = [frame for frame in frames if not frame.sent]
    assert sorted(each.data for each in driver.got) == sorted(each.data for each in recorded)
    for stream in STREAMS:
        assert [f for f in driver.got if stream_of(f) == stream] == [f for f in recorded if stream_of(f) == stream]


@given(conversations, st.data())
@settings(max_examples=examples(200), deadline=None)
def test_no_frame_comes_before_what_the_client_had_sent_before_it(frames: list[Frame], data: st.DataObject) -> None:
    numbered = [
        Frame(f.data, f.sent, f.is_text) if f.sent else received(in_stream(stream_of(f), {"at": at}))
        for at, f in enumerate([each for each in frames if sound_of(each) != b""])  # which need not be sent
    ]
    replay = replay_of(*numbered)
    driver = Driver(numbered, replay, data.draw, cuts=False)
    opened = {stream_of(frame) for frame in numbered if frame.sent}
    while True:
        driver.receive()
        left = {name: len(queue) for name, queue in driver.queues.items()}
        for frame in driver.got:
            at, stream = numbered.index(frame), stream_of(frame)
            waits_for = {None, stream} if stream in opened and stream else opened
            for name in waits_for:
                later = sum(each.sent and stream_of(each) == name for each in numbered[at:])
                assert left.get(name, 0) <= later
        if driver.is_done:
            break
        assert driver.send_next(driver.choose()) is None


@given(conversations, st.data())
@settings(max_examples=examples(200), deadline=None)
def test_a_message_that_is_changed_is_a_miss(frames: list[Frame], data: st.DataObject) -> None:
    replay = replay_of(*frames)
    driver = Driver(frames, replay, data.draw, cuts=False)
    changed_at = data.draw(st.integers(0, sum(frame.sent for frame in frames)))
    for _ in range(changed_at):
        assert driver.send_next(driver.choose()) is None
    name = None if driver.is_done else driver.choose()
    miss = replay.take_sent(sent(in_stream(name, {"type": "changed"})).data, True)
    assert miss is not None
    assert miss.text
    assert miss.played_out or not driver.is_done


ids = st.sampled_from(["id_a", "id_b", "id_c", "id_d"])
with_ids = st.builds(
    lambda at_top, item, repeated: {
        **({"id": at_top} if at_top else {}),
        **({"item": {"id": item, "type": "message"}} if item else {}),
        **({"item_id": repeated} if repeated else {}),
    },
    st.none() | ids,
    st.none() | ids,
    st.none() | ids,
)


@given(st.lists(st.tuples(st.booleans(), with_ids), max_size=12), st.permutations(["id_a", "id_b", "id_c", "new"]))
@settings(max_examples=examples(200), deadline=None)
def test_ids_of_the_client_may_be_others_and_it_gets_its_own_back(
    said: list[tuple[bool, Any]], names: list[str]
) -> None:
    """Only ids that come up first as the client's are its own; the provider's are the same in every run."""
    theirs: set[str] = set()
    mine: dict[str, str] = {}
    for is_client, value in said:
        made = [name for name in (value.get("id"), value.get("item", {}).get("id")) if name]
        if is_client:
            for name in made:
                if name not in theirs:
                    mine.setdefault(name, f"mine_{names[len(mine) % 4]}")
            if value.get("item_id") not in (*mine, *theirs):
                value.pop("item_id", None)  # nobody names an id that is not there yet
        else:
            theirs |= {name for name in (*made, value.get("item_id")) if name and name not in mine}

    def rename(value: Any) -> Any:
        return json.loads("".join([mine.get(part, part) for part in re.split(r"(id_[a-d])", json.dumps(value))]))

    replay = replay_of(*[sent(value) if is_client else received(value) for is_client, value in said])
    got: list[Any] = values_of(replay.deliverable())
    for is_client, value in said:
        if is_client:
            assert send(replay, rename(value)) is None
            got += values_of(replay.deliverable())
        else:
            assert got.pop(0) == rename(value)
    assert not got
    assert replay.ended is not None
