"""A stream goes on where an earlier attempt of its task had stopped."""

import asyncio
import contextlib
import json
import sys

import httpx2
import pytest

import aquila
from aquila.errors import ConfigError, ProviderError, TaskError
from aquila.huey import (
    MemoryHuey,
    MsgpackSerializer,
    Prefill,
    afollow,
    ask_task,
    current_task,
    follow,
    partial_answer,
    stream_task,
)
from aquila.huey.progress.kept_progress import PARTIAL_PREFIX
from aquila.huey.testing import drain_queue, perform_job, run_consumer, use_test_queue
from tests.support.provider import responses_stream
from tests.support.upstream import chat_chunks, cut_off, streamed, upstream

WHOLE = "one two three four five"


class Provider(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Gives each request the next answer: chunks of bytes, and the stream breaks after those of a tuple."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.bodies = []

    def _answer(self, request):
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0)

        class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
            def __iter__(self):
                yield from answer
                if isinstance(answer, tuple):
                    raise httpx2.ReadError("broken")

            async def __aiter__(self):
                for chunk in self:
                    yield chunk

        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())

    def handle_request(self, request):
        request.read()
        return self._answer(request)

    async def handle_async_request(self, request):
        await request.aread()
        return self._answer(request)


def cut(text, words):
    """A chat stream that breaks after so many words."""
    return tuple(chat_chunks(text)[: words + 1])


def lengths(*numbers):
    return b"".join(number.to_bytes(4, "little") for number in numbers)


@pytest.fixture
def shown():
    return []


@pytest.fixture
def tell(huey, shown):
    """A task of which two attempts are made; what it hands out is noted for each."""

    def make(provider, *, retries=1, **options):
        called = {name: options.pop(name) for name in list(options) if name not in ("resume", "continue_by")}

        @huey.task(retries=retries, name=f"tell_{len(provider.answers)}_{id(provider)}")
        def tell():
            texts = []
            shown.append(texts)
            with aquila.stream("Tell me", transport=provider, max_retries=0, **called) as stream:
                for event in follow(stream, **options):
                    if isinstance(event, aquila.Chunk):
                        texts.append(event.text)
            reply = stream.response
            return [reply.text, reply.usage.total_tokens, reply.meta.get("resumed")]

        return tell

    return make


def run_all(task):
    result = task()
    return result, drain_queue(with_scheduled=True, raise_errors=False).runs[-1]


# What is asked, and what is handed out


def test_continuing_hands_out_what_is_new_and_returns_the_whole_answer(tell, shown):
    provider = Provider(cut(WHOLE, 3), chat_chunks("four five"))
    _, run = run_all(tell(provider, resume="continue"))
    assert shown == [["one ", "two ", "three "], ["four ", "five"]]
    assert run.value[0] == WHOLE
    asked, again = provider.bodies
    assert again["messages"] == [
        *asked["messages"],
        {"role": "assistant", "content": "one two three "},
        {
            "role": "user",
            "content": "Your answer was cut off. Continue it exactly where it ends. Write nothing of it again, and no "
            "comment.",
        },
    ]
    assert {**again, "messages": ()} == {**asked, "messages": ()}


def test_replaying_hands_out_the_stored_chunks_first(tell, shown):
    provider = Provider(cut(WHOLE, 3), chat_chunks("four five"))
    _, run = run_all(tell(provider, resume="replay", provider_options={"logit_bias": {1: 5, "2": 6}}))
    assert shown == [["one ", "two ", "three "], ["one ", "two ", "three ", "four ", "five"]]
    assert run.value[0] == WHOLE
    assert len(provider.bodies) == 2


def test_without_resume_all_is_asked_and_handed_out_again(tell, shown):
    provider = Provider(cut(WHOLE, 3), chat_chunks(WHOLE))
    _, run = run_all(tell(provider))
    assert shown[1] == ["one ", "two ", "three ", "four ", "five"]
    assert run.value == [WHOLE, 10, None]
    assert provider.bodies[0] == provider.bodies[1]


def test_usage_adds_up_what_is_known_and_says_of_how_many_requests_it_is_not(tell):
    provider = Provider(cut(WHOLE, 3), chat_chunks("four five"))
    _, run = run_all(tell(provider, resume="continue"))
    assert run.value[1:] == [7, {"characters": 14, "requests": 1, "unreported": 1}]
    told = (*chat_chunks("one two three ")[:-3], chat_chunks("one two three")[-2])  # usage, and no end
    provider = Provider(told, chat_chunks("four five"))
    _, run = run_all(tell(provider, resume="continue"))
    assert run.value[1:] == [8 + 7, {"characters": 14, "requests": 1, "unreported": 0}]


def test_an_answer_may_be_cut_again_and_again(tell, shown):
    provider = Provider(cut(WHOLE, 2), cut("three four five", 1), cut("four five", 0), chat_chunks("four five"))
    _, run = run_all(tell(provider, resume="continue", retries=3))
    assert shown == [["one ", "two "], ["three "], [], ["four ", "five"]]
    assert run.value[0] == WHOLE
    assert run.value[2]["characters"] == len("one two three ")
    assert [body["messages"][-2]["content"] for body in provider.bodies[1:]] == ["one two ", *["one two three "] * 2]


def test_a_word_that_was_cut_is_written_again_and_handed_out_once(tell, shown):
    begun = (*cut(WHOLE, 2), chat_chunks("thr x")[1].replace(b"thr ", b"thr"))
    provider = Provider(begun, chat_chunks("three four five"))
    _, run = run_all(tell(provider, resume="continue"))
    assert shown == [["one ", "two ", "thr"], ["ee ", "four ", "five"]]
    assert run.value[0] == WHOLE
    assert (
        "Begin with the last word that you wrote, which may be incomplete: thr\n"
        in provider.bodies[1]["messages"][-1]["content"]
    )


def test_where_there_is_no_whole_word_yet_the_request_is_sent_again_as_it_was(tell, shown):
    begun = (*cut(WHOLE, 0), chat_chunks("on x")[1].replace(b"on ", b"on"))
    provider = Provider(begun, chat_chunks(WHOLE))
    _, run = run_all(tell(provider, resume="continue"))
    assert shown == [["on"], ["e ", "two ", "three ", "four ", "five"]]
    assert run.value[0] == WHOLE
    assert provider.bodies[0] == provider.bodies[1]


@pytest.mark.parametrize(
    ("prefill", "message", "body"),
    [
        (Prefill(), {}, {}),
        (Prefill({"prefix": True}), {"prefix": True}, {}),
        (
            Prefill(body={"continue_final_message": True, "add_generation_prompt": False}),
            {},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
    ],
    ids=["llama.cpp", "Mistral", "vLLM"],
)
def test_a_provider_that_can_continues_the_message_itself(tell, prefill, message, body):
    provider = Provider(cut(WHOLE, 3), chat_chunks(" four five"))
    _, run = run_all(tell(provider, resume="continue", continue_by=prefill))
    assert run.value[0] == WHOLE
    assert provider.bodies[1]["messages"][1:] == [{"role": "assistant", "content": "one two three", **message}]
    assert {key: provider.bodies[1].get(key) for key in body} == body


def test_the_words_that_ask_to_go_on_may_be_ones_own(tell):
    provider = Provider(cut(WHOLE, 3), chat_chunks("four five"))
    run_all(tell(provider, resume="continue", continue_by="Weiter, ab: {last_word}"))
    assert provider.bodies[1]["messages"][-1] == {"role": "user", "content": "Weiter, ab: "}


def test_the_responses_api_is_asked_in_its_own_form(tell):
    begun = responses_stream("one ", "two ", "three").partition(b"event: response.output_item.done")[0]
    provider = Provider((begun,), [responses_stream("three", " four")])
    _, run = run_all(tell(provider, resume="continue", endpoint="responses", metadata={"a": 1}))
    assert run.value[0] == "one two three four"
    assistant, user = provider.bodies[1]["input"][1:]
    assert assistant == {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "one two three"}],
    }
    assert user["role"] == "user"


# What is kept


def test_an_answer_that_was_complete_is_not_asked_for_again(huey, shown):
    provider = Provider(chat_chunks("first"), cut("second answer", 1), chat_chunks("answer"))

    @huey.task(retries=1)
    def job():
        texts = []
        for prompt in ("1", "2"):
            with aquila.stream(prompt, transport=provider, max_retries=0) as stream:
                shown.append([event.text for event in follow(stream, resume="replay") if hasattr(event, "text")])
            texts.append(stream.response)
        return [[reply.text, reply.meta["finish_reason"], reply.usage.total_tokens] for reply in texts]

    _, run = run_all(job)
    assert run.value == [["first", "stop", 6], ["second answer", "stop", 6]]
    assert shown == [["first"], ["first"], ["second ", "answer"]]
    assert [body["messages"][0]["content"] for body in provider.bodies] == ["1", "2", "2"]
    assert not [key for key in huey.all_results() if key.startswith("aquila.")]


def test_metadata_that_names_the_attempt_does_not_prevent_resuming(huey):
    begun = responses_stream("one ", "two ", "three").partition(b"event: response.output_item.done")[0]
    provider = Provider((begun,), [responses_stream("three", " four")])

    @huey.task(retries=1)
    def job():
        options = {"endpoint": "responses", "metadata": {"attempt": str(current_task().attempt)}}
        with aquila.stream("Tell me", transport=provider, max_retries=0, **options) as stream:
            list(follow(stream, resume="continue"))
        return stream.response.text

    assert run_all(job)[1].value == "one two three four"
    assert [body["metadata"] for body in provider.bodies] == [{"attempt": "1"}, {"attempt": "2"}]


@pytest.mark.parametrize("is_cut", [False, True], ids=["complete", "cut"])
def test_a_refusal_is_not_kept_so_a_retry_asks_again(huey, is_cut):
    role, word, *rest = chat_chunks("Well, I will not do that")
    refusal = [role, word, *(chunk.replace(b'"content":"', b'"refusal":"') for chunk in rest)]
    provider = Provider(tuple(refusal[:4]) if is_cut else refusal, chat_chunks("Here it is"))

    @huey.task(retries=1)
    def job():
        with aquila.stream("Tell me", transport=provider, max_retries=0) as stream:
            texts = [event.text for event in follow(stream, resume="continue") if isinstance(event, aquila.Chunk)]
        if stream.response.refusal:
            raise ValueError(stream.response.refusal)
        return ["".join(texts), stream.response.text]

    assert run_all(job)[1].value == ["Here it is", "Here it is"]
    assert [body["messages"] for body in provider.bodies] == [[{"role": "user", "content": "Tell me"}]] * 2


def test_each_answer_to_the_same_prompt_is_one_of_its_own(huey):
    answers = [chat_chunks("a hen"), chat_chunks("an owl"), cut("a grey goose", 2), chat_chunks("goose")]
    provider = Provider(*answers)

    @huey.task(retries=1)
    def best_of_three():
        texts = []
        for _ in range(3):
            with aquila.stream("Name a bird", transport=provider, max_retries=0) as stream:
                list(follow(stream, resume="continue"))
            texts.append(stream.response.text)
        return texts

    _, run = run_all(best_of_three)
    assert run.value == ["a hen", "an owl", "a grey goose"]
    assert len(provider.bodies) == 4


def test_answers_to_the_same_prompt_that_come_at_once_are_kept_apart(huey):
    provider = Provider(chat_chunks("a hen"), chat_chunks("an owl"))

    @huey.task(retries=1)
    async def job():
        async def name_bird():
            async with aquila.astream("Name a bird", transport=provider) as stream:
                async for _ in afollow(stream, resume="continue"):
                    pass
            return stream.response.text

        texts = await asyncio.gather(name_bird(), name_bird())
        assert current_task().attempt == 2
        return sorted(texts)

    _, run = run_all(job)
    assert run.value == ["a hen", "an owl"]
    assert len(provider.bodies) == 2


@pytest.mark.parametrize("resume", ["continue", "replay"])
def test_a_task_that_tries_again_by_itself_goes_on_with_the_answer_that_was_cut(huey, resume):
    provider = Provider(cut(WHOLE, 3), chat_chunks("four five"), cut("next", 0), chat_chunks("last"))

    @huey.task(retries=1)
    def job():
        for _ in range(2):
            with (
                contextlib.suppress(ProviderError),
                aquila.stream("Tell me", transport=provider, max_retries=0) as stream,
            ):
                list(follow(stream, resume=resume))
                break
        told = stream.response.text
        with aquila.stream("And then?", transport=provider, max_retries=0) as stream:
            list(follow(stream, resume=resume))
        return [told, stream.response.text]

    _, run = run_all(job)
    assert run.value == [WHOLE, "last"]


def test_what_is_kept_of_another_request_is_left_alone(huey):
    provider = Provider(cut(WHOLE, 3), chat_chunks("all of it"))

    @huey.task(retries=1)
    def job():
        prompt = f"attempt {current_task().attempt}"
        with aquila.stream(prompt, transport=provider, max_retries=0) as stream:
            list(follow(stream, resume="continue"))
        return stream.response.text

    _, run = run_all(job)
    assert run.value == "all of it"


@pytest.mark.parametrize("resume", ["continue", "replay"])
def test_an_answer_may_have_more_chunks_than_a_message_may_have_objects(shown, resume):
    words = "word " * 300
    provider = Provider(cut(words, 200), chat_chunks("word " * 100), cut("next", 0), chat_chunks("last"))
    huey = MemoryHuey("app", serializer=MsgpackSerializer(max_objects=150))

    @huey.task(retries=2)
    def job():
        texts = []
        for prompt in ("1", "2"):
            with aquila.stream(prompt, transport=provider, max_retries=0) as stream:
                shown.append([event.text for event in follow(stream, resume=resume) if hasattr(event, "text")])
            texts.append(stream.response.text.strip())
        return texts

    with use_test_queue(huey):
        _, run = run_all(job)
    assert run.value == [words.strip(), "last"]
    assert len(provider.bodies) == 4
    assert len(shown[-2]) == (300 if resume == "replay" else 0)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("answer", "settings", "reason"),
    [
        ("half a sign: \ud83d", {}, "lone surrogate"),
        ("long " * 1000, {"max_size": 4000}, "bytes, and the limit is 4,000"),
    ],
    ids=["lone surrogate", "too large"],
)
def test_a_complete_answer_that_cannot_be_kept_fails_nothing(caplog, is_async, answer, settings, reason):
    provider = Provider(chat_chunks(answer))
    huey = MemoryHuey("app", serializer=MsgpackSerializer(**settings))

    @huey.task()
    def job():
        with aquila.stream("p", transport=provider) as stream:
            list(follow(stream, resume="continue"))
        return len(stream.response.text)

    @huey.task()
    async def async_job():
        async with aquila.astream("p", transport=provider) as stream:
            async for _ in afollow(stream, resume="continue"):
                pass
        return len(stream.response.text)

    with use_test_queue(huey):
        _, run = run_all(async_job if is_async else job)
    assert run.value == len(answer)
    (warning,) = [message for message in caplog.messages if "so a retry asks for it again" in message]
    assert reason in warning


def test_readers_of_the_text_so_far_see_the_whole_of_it(tell, huey):
    provider = Provider(cut(WHOLE, 2), cut("three four", 1))
    result, _ = run_all(tell(provider, resume="continue"))
    assert partial_answer(huey, result) == "one two three "


def test_a_text_so_far_of_a_stream_without_resume_is_not_gone_on_with(huey, tell):
    provider = Provider(cut(WHOLE, 1), chat_chunks("anew"))
    result = tell(provider, resume="replay")()
    assert drain_queue(with_limit=1, raise_errors=False).runs[0].exception
    huey.put(PARTIAL_PREFIX + result.id, [1, "text"])
    assert drain_queue().runs[0].value[0] == "anew"


# Async tasks, declared tasks


@pytest.mark.parametrize(("resume", "second"), [("continue", ["four ", "five"]), ("replay", WHOLE.split())])
def test_async_tasks_resume_too(huey, shown, resume, second):
    provider = Provider(chat_chunks("before"), cut(WHOLE, 3), chat_chunks("four five"))

    @huey.task(retries=1)
    async def job():
        async with aquila.astream("0", transport=provider) as stream:
            async for _ in afollow(stream, resume=resume):
                pass
        async with aquila.astream("1", transport=provider, max_retries=0) as stream:
            shown.append([])
            async for event in afollow(stream, resume=resume):
                if isinstance(event, aquila.Chunk):
                    shown[-1].append(event.text)
        return stream.response.text

    _, run = run_all(job)
    assert run.value == WHOLE
    assert [text.strip() for text in shown[1]] == [text.strip() for text in second]
    assert len(provider.bodies) == 3


@pytest.mark.parametrize("declare", [ask_task, stream_task])
def test_a_declared_task_resumes(huey, declare):
    provider = Provider(cut(WHOLE, 3), chat_chunks("four five"))
    task = declare(
        huey,
        "Tell me",
        name="tell",
        transport=provider,
        resume="continue",
        retry_delay=0,
        max_retries=0,
        metadata={"a": 1},
    )
    _, run = run_all(task)
    assert run.value["text"] == WHOLE
    assert len(provider.bodies[1]["messages"]) == 3


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"tools": [len]}, "what the tools did"),
        ({"response_format": {"type": "json_object"}}, "half a document"),
        ({"endpoint": "responses", "background": True}, "goes on with such an answer by itself"),
        ({"endpoint": "responses", "websocket": True}, "ends with its connection"),
    ],
)
def test_a_call_that_cannot_be_resumed_is_refused_before_anything_is_sent(huey, option, reason):
    @aquila.tool
    def look(place: str) -> str:
        """Look."""
        return place

    if "tools" in option:
        option = {"tools": [look]}
    for declare in (ask_task, stream_task):
        with pytest.raises(ConfigError, match=reason):
            declare(huey, "p", name="p", resume="continue", **option)
    provider = Provider()

    @huey.task()
    def job():
        with contextlib.suppress(StopIteration), aquila.stream("p", transport=provider, **option) as stream:
            list(follow(stream, resume="replay"))

    if "websocket" not in option:
        perform_job(job, raises=ConfigError)
    assert provider.bodies == []


def test_an_unknown_way_to_resume_is_refused(huey):
    with pytest.raises(ConfigError, match=r"resume='contineu' is not known; did you mean 'continue'\?$"):
        stream_task(huey, "p", name="p", resume="contineu")


def test_a_way_to_ask_for_the_rest_that_is_none_is_refused_before_anything_was_cut(huey):
    with pytest.raises(ConfigError, match="continue_by= is a text or a Prefill, not True"):
        stream_task(huey, "p", name="p", resume="continue", continue_by=True)
    provider = Provider()

    @huey.task()
    def job():
        with aquila.stream("p", transport=provider) as stream:
            list(follow(stream, resume="continue", continue_by=True))

    perform_job(job, raises=ConfigError)
    assert provider.bodies == []


# Recordings


def test_a_cut_answer_and_its_continuation_replay_from_a_cassette(huey, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    answers = [cut_off(WHOLE, after=3), streamed("four five")]

    @huey.task(retries=1)
    def job():
        shown.append([])
        with aquila.stream("Tell me", base_url=url, max_retries=0) as stream:
            for event in follow(stream, resume="replay"):
                if isinstance(event, aquila.Chunk):
                    shown[-1].append(event.text)
        return stream.response.text

    with upstream(lambda path, body: answers.pop(0)) as server:
        url = server.url
        for transport in ("record", "replay"):
            shown.clear()
            with aquila.use_cassette("tell", transport=transport, cassette_dir=str(tmp_path)) as cassette:
                _, run = run_all(job)
            assert run.value == WHOLE
            assert shown == [["one ", "two ", "three "], ["one ", "two ", "three ", "four ", "five"]]
    assert len(server.requests) == 2
    assert cassette.all_played


APP = """
import json, os, time
import httpx2
import aquila
from aquila.huey import SqliteHuey, follow

HERE = os.path.dirname(os.path.abspath(__file__))
huey = SqliteHuey("app", filename=os.path.join(HERE, "q.db"), keep_running=True, lost_after=3.0)

class Provider(httpx2.BaseTransport):
    # Two words and silence; what is missing to whoever asks for that.
    def handle_request(self, request):
        from tests.support.upstream import chat_chunks
        goes_on = len(json.loads(request.read())["messages"]) > 1

        class Stream(httpx2.SyncByteStream):
            def __iter__(self):
                if goes_on:
                    yield from chat_chunks("three four")
                else:
                    yield from chat_chunks("one two three four")[:3]
                    time.sleep(60)

        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())

@huey.task()
def job():
    shown = []
    with aquila.stream("p", transport=Provider(), timeout=90) as stream:
        for event in follow(stream, every=0.02, resume={resume!r}):
            if isinstance(event, aquila.Chunk):
                shown.append(event.text)
    return [stream.response.text, shown]
"""


@pytest.mark.long(15)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("resume", "shown"), [("replay", ["one ", "two ", "three ", "four"]), ("continue", ["three ", "four"])]
)
def test_a_task_whose_worker_was_killed_in_mid_stream_goes_on(tmp_path, monkeypatch, resume, shown):
    (tmp_path / "resumed_app.py").write_text(APP.replace("{resume!r}", repr(resume)))
    monkeypatch.syspath_prepend(str(tmp_path))
    import resumed_app

    huey = resumed_app.huey
    with use_test_queue(huey, storage="own"):
        result = resumed_app.job()
        dies = pytest.raises(TaskError, match="ended with code")
        with dies, run_consumer(subprocess="resumed_app.huey", timeout=240) as consumer:
            consumer.wait_for(lambda: partial_answer(huey, result) == "one two ")
            consumer.process.kill()
            consumer.wait_for(lambda: False)
        with run_consumer(subprocess="resumed_app.huey", timeout=240) as consumer:
            assert consumer.wait(result) == ["one two three four", shown]
        assert not [key for key in huey.all_results() if key.startswith("aquila.")]
    huey.storage.close()
    sys.modules.pop("resumed_app")
