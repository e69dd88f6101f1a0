"""ask_task and stream_task: a task around a prompt in one line."""

import json

import httpx2
import pytest
from huey.api import MemoryHuey, group
from huey.exceptions import CancelExecution, RetryTask
from pydantic import BaseModel

import aquila
from aquila import api, errors
from aquila.huey import ask_task, stream_task
from aquila.huey.tasks.task_wrapper import HUEY_OPTIONS
from aquila.huey.testing import build_task, drain_queue, perform_job
from tests.support.upstream import chat_chunks, cut_off, streamed, streaming, upstream


class Provider(httpx2.BaseTransport):
    """Answers with what the prompt says, streamed or not; or with the statuses it is given first."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.bodies = []

    def handle_request(self, request):
        body = json.loads(request.read())
        self.bodies.append(body)
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            return httpx2.Response(status, json={"error": {"message": "no"}})
        text = f"You said: {body['messages'][-1]['content']}"
        if body.get("stream"):
            content = b"".join(chat_chunks(text))
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return httpx2.Response(200, json={**answer, "usage": usage})


@pytest.fixture(params=[ask_task, stream_task], ids=["ask", "stream"])
def declare(request, huey):
    return lambda *args, **options: request.param(huey, *args, **{"max_retries": 0, **options})


def test_a_template_becomes_a_task_of_its_fields(declare):
    provider = Provider()
    task = declare("Compare {a} with {b[x]}, then {a!r}", name="compare", transport=provider, instructions="Be brief.")
    run = perform_job(task, "tea", b={"x": "coffee"})
    assert run.value["text"] == "You said: Compare tea with coffee, then 'tea'"
    assert run.value["finish_reason"] == "stop"
    assert run.value["usage"]["total_tokens"] > 0
    assert json.dumps(run.value)
    assert run.name == f"{__name__}.compare"
    assert provider.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    with pytest.raises(errors.TaskContractBroken, match=r"compare\(a, b, \*, task\)"):
        perform_job(task, "tea")


def test_a_field_within_the_format_of_another_is_a_parameter_too(declare):
    task = declare("It costs {price:.{digits}f} today", name="costs", transport=Provider())
    assert perform_job(task, 1.25, digits=1).value["text"] == "You said: It costs 1.2 today"


def test_a_function_becomes_a_task_that_makes_its_prompt(declare):
    provider = Provider()

    @declare(transport=provider)
    def answer(question, name="nobody"):
        """Answer a question."""
        return [("user", f"{name} asks"), ("assistant", "Yes?"), ("user", question)]

    assert perform_job(answer, "why?", name="eve").value["text"] == "You said: why?"
    assert answer.__doc__ == "Answer a question."
    assert len(provider.bodies[0]["messages"]) == 3


def test_metadata_says_which_task_asks(huey):
    options = {"metadata": {"mine": 1}, "result": lambda reply: dict(reply.meta["metadata"])}
    built = build_task(ask_task(huey, "{x}", name="about", transport=Provider(), **options), 1, attempt=2)
    assert perform_job(built).value == {"mine": 1, "task": "about", "task_id": built.id, "attempt": 2}


def test_the_cassette_is_named_after_the_task_unless_another_is_given(declare, tmp_path, monkeypatch):
    for options, expected in [
        ({}, "tasks/recall"),
        ({"cassette": "other"}, "other"),
        ({"cassette": ""}, "of the test"),
    ]:
        task = declare("{x}", name="recall", **options)
        with aquila.use_cassette("of the test") as cassette:
            perform_job(task, 1, raises=errors.CassetteMiss)
            assert f"{expected}.yaml" in str(cassette.misses[0])
            cassette.forget_misses()
        task.unregister()


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_a_failure_that_may_pass_is_retried_with_growing_delay(declare, status):
    task = declare("{x}", name="flaky", transport=Provider(status, status), retries=2, retry_delay=5, retry_backoff=3)
    task(1)
    drained = drain_queue(with_scheduled=True)
    assert drained == {"error": 2, "complete": 1}
    assert [run.retry and run.retry.delay for run in drained.runs] == [5, 15, None]


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_failure_that_will_not_pass_fails_at_once(declare, status):
    task = declare("{x}", name="hopeless", transport=Provider(status), retries=5)
    run = perform_job(task, 1, raises=errors.ProviderError)
    assert run.exception.status == status
    assert run.retry is None


def test_a_mistake_in_the_prompt_function_fails_at_once(declare):
    @declare(transport=Provider())
    def broken(x):
        return f"{x['missing']}"

    assert perform_job(broken, {}, raises=KeyError).retry is None


def test_a_prompt_function_may_still_steer_huey(declare):
    @declare(transport=Provider(), retries=2)
    def steering(how):
        raise RetryTask(delay=5) if how == "retry" else CancelExecution(retry=True)

    run = perform_job(steering, "retry")
    assert (run.state, run.retry.left) == ("retry", 2)
    run = perform_job(steering, "cancel")
    assert (run.state, run.retry.left) == ("canceled", 1)


def test_a_break_in_mid_stream_is_retried(huey):
    answers = [cut_off("one two", after=1), streamed("one two")]
    with upstream(lambda path, body: answers.pop(0)) as server:
        task = stream_task(huey, "{x}", name="breaks", transport=server.transport(), max_retries=0, retry_delay=0)
        task(1)
        drained = drain_queue()
    assert drained == {"error": 1, "complete": 1}
    assert drained.runs[1].value["text"] == "one two"


def test_every_event_of_a_stream_is_handed_on_in_order(huey):
    seen = []
    task = stream_task(huey, "{x}", name="events", transport=Provider(), on_event=lambda *seen_: seen.append(seen_))
    run = perform_job(task, "a b")
    assert "".join(event.text for event, _ in seen if isinstance(event, aquila.Chunk)) == run.value["text"]
    assert isinstance(seen[-1][0], aquila.Done)
    assert {task.id for _, task in seen} == {run.task.id}


def test_what_an_event_handler_raises_fails_the_task_for_good(huey):
    def refuse(event, task):
        raise ValueError("full")

    task = stream_task(huey, "{x}", name="refused", transport=Provider(), on_event=refuse)
    assert perform_job(task, 1, raises=ValueError).retry is None


def test_a_time_limit_ends_the_task_of_a_plain_huey_which_sets_none_in_a_thread(held):
    huey, signals = MemoryHuey("plain"), []
    huey.signal()(lambda name, task, error=None: signals.append(name))
    ask_task(huey, "{x}", name="slow", transport=held.transport(), time_limit=0.1, timeout=20, retries=1)(1)
    huey.execute(huey.dequeue())
    assert "timeout" in signals


@pytest.mark.parametrize(
    ("time_limit", "total", "least", "most"),
    [(10_000, 70, 70, 70), (50, 70, 0, 50), (10_000, None, 70, 10_000), (None, 70, 70, 70)],
)
def test_a_call_has_its_own_limit_or_the_time_that_its_task_has_left(huey, monkeypatch, time_limit, total, least, most):
    limits, ask = [], api.ask

    def note_limits(prompt, **options):
        limits.append(options["timeout"].total)
        return ask(prompt, **options)

    monkeypatch.setattr(api, "ask", note_limits)
    own = aquila.Timeouts(total=total)
    perform_job(ask_task(huey, "{x}", name="limited", transport=Provider(), time_limit=time_limit, timeout=own), 1)
    assert least <= limits[0] <= most


class Verdict(BaseModel):
    good: bool


def test_a_parsed_answer_is_stored_as_plain_data(huey):
    task = ask_task(huey, "{x}", name="verdict", transport=streaming('{"good": true}'), response_format=Verdict)
    run = perform_job(task, 1)
    assert run.value["parsed"] == {"good": True}
    assert run.stored == run.value


def test_a_result_of_ones_own(declare):
    task = declare("{x}", name="plain", transport=Provider(), result=lambda reply: reply.text.upper())
    assert perform_job(task, "hi").value == "YOU SAID: HI"


def test_what_is_wrong_with_a_declaration_is_found_where_it_is_written(declare):
    with pytest.raises(errors.UnknownOption, match="temperature"):
        declare("{x}", name="a", temprature=0)
    for seconds in (-1, 0, "5s"):
        with pytest.raises(errors.ConfigError, match="time_limit= must be a number of seconds above 0, not "):
            declare("Hi", name="hi", time_limit=seconds)
    with pytest.raises(errors.ConfigError, match="needs a name"):
        declare("{x}")
    for wrong in ('{"json": {x}}', "{x", "} {x}", "{class}"):
        with pytest.raises(errors.ConfigError, match=r"^b: .* for braces that are text"):
            declare(wrong, name="b")
    with pytest.raises(errors.ConfigError, match="Huey uses the parameter"):
        declare("{task}", name="c")


def test_double_braces_are_text(declare):
    task = declare('{{"json": "{x}"}}', name="braces", transport=Provider())
    assert perform_job(task, 1).value["text"] == 'You said: {"json": "1"}'


@pytest.mark.parametrize("name", HUEY_OPTIONS)
def test_a_field_with_the_name_of_an_argument_of_huey_is_refused_where_it_is_declared(huey, name):
    with pytest.raises(
        errors.ConfigError, match=f"shout: the field {{{name}}} .* Give it another name: {{the_{name}}}"
    ):
        ask_task(huey, f"Shout: {{text}} {{{name}}}", name="shout")


def test_arguments_that_do_not_fit_are_refused_where_the_task_is_enqueued(huey):
    task = ask_task(huey, "{a} {b}", name="both")

    @ask_task(huey)
    def prompt(a, b="b"):
        return a

    enqueuing = [
        lambda: task("x"),
        lambda: task("x", "y", "z"),
        lambda: task(a="x", c="y"),
        lambda: task.schedule(("x",), delay=60),
        lambda: task.map(["x"]),
        lambda: huey.enqueue(task.s("x").then(task, "y")),
        lambda: huey.enqueue(group([task.s("x", "y"), task.s("x")])),
        prompt,
    ]
    for enqueue in enqueuing:
        before = huey.pending_count()
        with pytest.raises(errors.TaskContractBroken, match=r"(both|prompt) takes \(a, b\), and is enqueued"):
            enqueue()
        assert huey.pending_count() - before <= 1
    huey.flush()
    huey.enqueue(task.s("x", b="y").then(task, "y"))  # the follower gets the result of the first
    prompt("x")
    assert huey.pending_count() == 2


def test_what_a_task_that_follows_is_given_is_not_compared_again(huey):
    task = ask_task(
        huey, "{a}", name="one", transport=Provider(), cassette="", result=lambda reply: (reply.text, "too many")
    )
    huey.enqueue(task.s("x").then(task))
    drained = drain_queue(raise_errors=False)
    assert [run.state for run in drained.runs] == ["complete", "error"]
