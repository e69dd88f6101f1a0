"""Streams and sinks used wrongly: the error says what to do, and the recording keeps what arrived."""

from __future__ import annotations

import threading

import pytest

from tests.bad_input.conftest import Project, says
from tests.support.provider import chat_chunk
from tests.support.server import Answer, sse

MISTAKES: dict[str, str] = {
    "a stream is iterated twice": """
        stream = aquila.stream("Say hello.")
        assert [event.text for event in stream if isinstance(event, aquila.Chunk)] == ["Hello", " there."]
        with pytest.raises(aquila.errors.StreamConsumed, match="can be read once.*make a new one with stream"):
            list(stream)
        assert stream.response.text == "Hello there."
        """,
    "a stream is used after close": """
        stream = aquila.stream("Say hello.")
        stream.close()
        with pytest.raises(aquila.errors.StreamClosed, match="was closed; make a new one with stream"):
            list(stream)
        with pytest.raises(aquila.errors.StreamClosed, match="closed before its end, so it has no response"):
            stream.response
        answer()
        """,
    "the response is asked for too early": """
        with aquila.stream("Say hello.") as stream:
            with pytest.raises(aquila.errors.StreamError, match="is not complete; read it to its end, or call result"):
                stream.response
            assert stream.result().text == "Hello there."
        """,
    "a sink raises": """
        def sink(event):
            raise RuntimeError("the page is gone")

        stream = aquila.stream("Say hello.", sink=aquila.Sink.callback(sink))
        with pytest.raises(aquila.errors.SinkError, match="the sink raised RuntimeError on Chunk") as caught:
            stream.result(timeout=60)
        assert str(caught.value.__cause__) == "the page is gone"
        """,
    "the sink of ask raises": """
        def sink(event):
            raise RuntimeError("the page is gone")

        with pytest.raises(aquila.errors.SinkError, match="the sink raised RuntimeError"):
            answer(sink=aquila.Sink.callback(sink))
        """,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_and_replays_as_it_was_recorded(mistake: str, project: Project) -> None:
    project.provider = lambda seen: says("Hello", " there.")
    project.write(MISTAKES[mistake])
    project.passes("--aquila-record")
    asked = len(project.asked)
    assert asked == 1
    project.passes()
    assert len(project.asked) == asked


def test_a_replay_that_reads_further_than_the_recording_says_so(project: Project) -> None:
    project.provider = lambda seen: Answer([sse(chat_chunk("Hello"), done=False), threading.Event()])
    project.write(
        """
        with aquila.stream("Say hello.") as stream:
            for event in stream:
                break
        """
    )
    project.passes("--aquila-record")
    project.passes()
    project.write("answer()")
    output = project.fails()
    assert "the caller stopped reading there" in output
    assert "--aquila-record=all" in output
