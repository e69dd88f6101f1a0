"""Tasks that send a prompt to a model, declared in one line.

::

    summarise = ask_task(huey, "Summarise in one sentence:\\n\\n{text}", name="summarise", temperature=0)

    @stream_task(huey, instructions="Answer like a pirate.")
    def answer(question, name):                 # returns the prompt
        return f"{name} asks: {question}"

    result = summarise("A long text ...")       # an ordinary Huey task
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NotRequired, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from huey.api import Task, TaskWrapper
from huey.exceptions import TaskTimeout

from aquila import api
from aquila.engine.calls.options import Options
from aquila.engine.calls.timeouts import Timeouts, check_seconds
from aquila.errors import (
    ConfigError,
    ConnectionFailed,
    ProviderUnavailable,
    RateLimited,
    RequestTimeout,
    StreamBroken,
    StreamTimeout,
)
from aquila.events import Event
from aquila.huey.limits.settings import check_has_limits
from aquila.huey.progress.following import follow
from aquila.huey.progress.resuming import check_resume
from aquila.huey.tasks.enqueue_check import check_when_enqueued
from aquila.huey.tasks.prompt_templates import function_of_template
from aquila.huey.tasks.running_task import FLOW_CONTROL, attempt_of
from aquila.recording.runtime import current_settings
from aquila.response import Response
from aquila.signatures import read_signature

if TYPE_CHECKING:
    from aquila.engine.streams.cut_answers import Prefill
    from aquila.huey.progress.resuming import Resume
    from aquila.huey.tasks.prompt_task_options import PromptTaskOptions, StreamTaskOptions
    from aquila.huey.tasks.task_wrapper import AquilaTaskWrapper
    from aquila.messages import Prompt

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

TRANSIENT = (ProviderUnavailable, RateLimited, ConnectionFailed, RequestTimeout, StreamTimeout, StreamBroken)
"""Failures that may pass. A task is retried after one of these and after its time limit, and else fails for good."""


class StoredUsage(TypedDict):
    """The tokens of an answer, in a ``StoredAnswer``.

    Examples:
        >>> from aquila.huey import StoredUsage
        >>> def cost_of(usage: StoredUsage) -> float:
        ...     return usage["input_tokens"] * 0.5e-6 + usage["output_tokens"] * 2e-6
        >>> cost_of({"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100})
        0.0007
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int


class StoredAnswer(TypedDict):
    """The result of a task around a prompt, unless ``result=`` returns another one."""

    text: str
    usage: StoredUsage
    model: str | None
    finish_reason: str | None
    id: str | None
    refusal: NotRequired[str]
    parsed: NotRequired[Any]


class PromptDecorator(Protocol[R_co]):
    """Makes a task of a function that returns a prompt. The task has the parameters of the function."""

    def __call__(self, function: Callable[P, Prompt], /) -> AquilaTaskWrapper[P, R_co]: ...


@overload
def ask_task(
    huey: Any, prompt: str, *, name: str, result: Callable[[Response], R], **options: Unpack[PromptTaskOptions]
) -> AquilaTaskWrapper[..., R]: ...
@overload
def ask_task(
    huey: Any, prompt: str, *, name: str, result: None = None, **options: Unpack[PromptTaskOptions]
) -> AquilaTaskWrapper[..., StoredAnswer]: ...
@overload
def ask_task(
    huey: Any,
    prompt: None = None,
    *,
    name: str | None = None,
    result: Callable[[Response], R],
    **options: Unpack[PromptTaskOptions],
) -> PromptDecorator[R]: ...
@overload
def ask_task(
    huey: Any,
    prompt: None = None,
    *,
    name: str | None = None,
    result: None = None,
    **options: Unpack[PromptTaskOptions],
) -> PromptDecorator[StoredAnswer]: ...
def ask_task(
    huey: Any,
    prompt: str | None = None,
    *,
    resume: Resume | None = None,
    continue_by: str | Prefill | None = None,
    **options: Any,
) -> Any:
    """Declare a task that asks a model, and return it. Without ``prompt``, return a decorator for a function.

    - ``prompt``: a template. Its ``{fields}`` are the parameters of the task, and ``name`` is then needed. A decorated
      function returns the prompt instead, in any form that ``aquila.ask`` takes.
    - ``name``: the name of the task; by default that of the decorated function.
    - ``cassette``: the cassette of the requests, ``tasks/<name>`` by default. With an empty string they use the
      cassette of the test.
    - ``metadata``: the metadata of the call. ``task_id``, ``task`` and ``attempt`` are added.
    - ``result``: a function that is given the ``Response`` and returns the result of the task. By default the result is
      a dictionary with ``text``, ``usage``, ``model``, ``finish_reason`` and ``id``; also ``parsed`` with
      ``response_format=``, and ``refusal`` where the model has refused.
    - ``retries``, ``retry_delay`` (seconds), ``retry_backoff`` (a factor): how often and when the task is retried after
      a failure of the provider that may pass (``TRANSIENT``), or after its ``time_limit``: 3 times, after 10, 20 and 40
      seconds, by default. Any other exception fails at once.
    - ``time_limit`` (seconds): Huey's ``timeout`` of the task. The call ends with it in any worker.
    - ``priority``: the priority of the task.
    - ``limit``, ``budget``: limits and budgets for the requests of this task alone, in all workers; see ``set_limits``.
    - ``resume``, ``continue_by``: a task that is retried, or delivered again, asks only for what is missing of its
      answer; see ``aquila.huey.follow``.
    - ``unique``: a second job is not enqueued while one with the same arguments is queued or runs. True, or the names
      of the fields that count.
    - All other options are those of ``aquila.ask``.

    Raises ``ConfigError`` or ``UnknownOption`` at once for a mistake in the declaration. A Huey of Aquila raises
    ``TaskContractBroken`` where the task is enqueued with arguments that do not fit.
    """
    # Only the answer of a stream arrives in parts that can be kept.
    ask = _ask_model if resume is None else functools.partial(_stream_answer, resume=resume, continue_by=continue_by)
    return _declare_task(huey, prompt, ask, resume, continue_by, options)


@overload
def stream_task(
    huey: Any, prompt: str, *, name: str, result: Callable[[Response], R], **options: Unpack[StreamTaskOptions]
) -> AquilaTaskWrapper[..., R]: ...
@overload
def stream_task(
    huey: Any, prompt: str, *, name: str, result: None = None, **options: Unpack[StreamTaskOptions]
) -> AquilaTaskWrapper[..., StoredAnswer]: ...
@overload
def stream_task(
    huey: Any,
    prompt: None = None,
    *,
    name: str | None = None,
    result: Callable[[Response], R],
    **options: Unpack[StreamTaskOptions],
) -> PromptDecorator[R]: ...
@overload
def stream_task(
    huey: Any,
    prompt: None = None,
    *,
    name: str | None = None,
    result: None = None,
    **options: Unpack[StreamTaskOptions],
) -> PromptDecorator[StoredAnswer]: ...
def stream_task(
    huey: Any,
    prompt: str | None = None,
    *,
    on_event: Callable[[Event, Task], Any] | None = None,
    every: float = 0.5,
    resume: Resume | None = None,
    continue_by: str | Prefill | None = None,
    **options: Any,
) -> Any:
    """Declare a task that streams the answer of a model. Its options are those of ``ask_task``, and:

    - ``on_event(event, task)``: a function that is called with every event, in order. Its exception fails the task.
    - ``every``: seconds between two times that the text so far is stored. ``aquila.huey.partial_answer`` reads it.

    Revoking the task, or its time limit, ends the stream; see ``aquila.huey.follow``. Raises as ``ask_task`` does.
    """
    streaming = functools.partial(
        _stream_answer, on_event=on_event, every=every, resume=resume, continue_by=continue_by
    )
    return _declare_task(huey, prompt, streaming, resume, continue_by, options)


def _ask_model(task: Task, prompt: Any, options: Mapping[str, Any]) -> Response:
    return api.ask(prompt, **options)


def _stream_answer(
    task: Task,
    prompt: Any,
    options: Mapping[str, Any],
    *,
    on_event: Callable[[Event, Task], Any] | None = None,
    every: float = 0.5,
    resume: Resume | None,
    continue_by: str | Prefill | None,
) -> Response:
    with api.stream(prompt, **options) as stream:
        for event in follow(stream, every=every, resume=resume, continue_by=continue_by):
            if on_event is not None:
                on_event(event, task)
    return stream.response


_SETTINGS: Mapping[str, Any] = {
    "retries": 3,
    "retry_delay": 10,
    "retry_backoff": 2,
    **dict.fromkeys(("priority", "limit", "budget", "unique")),
}
"""The settings of Huey that ``ask_task`` takes by their own names, with their defaults."""


def _declare_task(
    huey: Any,
    prompt: str | None,
    call: Callable[[Task, Any, Mapping[str, Any]], Response],
    resume: Resume | None,
    continue_by: str | Prefill | None,
    options: dict[str, Any],
) -> Any:
    settings = {setting: options.pop(setting, usual) for setting, usual in _SETTINGS.items()}
    settings["timeout"] = options.pop("time_limit", None)
    name, cassette, metadata, result = (options.pop(each, None) for each in ("name", "cassette", "metadata", "result"))
    # The options are checked where they are written, and not only when a worker makes the call.
    check_resume(resume, continue_by, Options.check(options))
    check_has_limits(huey, settings)
    if settings["timeout"] is not None:
        check_seconds(settings["timeout"], "time_limit=")

    def declare(function: Callable[..., Any]) -> TaskWrapper:
        task_name = name or function.__name__
        parameters = read_signature(function)
        given = dict(options)
        recorded_as = f"tasks/{task_name}" if cassette is None else cassette
        if recorded_as:
            given["cassette"] = recorded_as

        def run(*args: Any, task: Task, **kwargs: Any) -> Any:
            about = {"task": task_name, "task_id": task.id, "attempt": attempt_of(task)}
            with _only_transient_retries(task):
                asked = {
                    **given,
                    "timeout": _limit_to_task_time(task, given.get("timeout")),
                    "metadata": {**(metadata or {}), **about},
                }
                reply = call(task, function(*args, **kwargs), asked)
                return result(reply) if result is not None else plain_result(reply)

        run.__name__ = task_name
        run.__module__ = function.__module__
        run.__doc__ = function.__doc__
        # The signature of the decorated function, with the `task` that Huey adds itself.
        own = inspect.Parameter("task", inspect.Parameter.KEYWORD_ONLY)
        run.__signature__ = parameters.replace(parameters=_insert_task_parameter(parameters, own))  # type: ignore[attr-defined]
        declared: TaskWrapper = huey.task(context=True, name=task_name, **settings)(run)
        check_when_enqueued(declared.task_class, parameters)
        return declared

    if prompt is None:
        return declare
    if name is None:
        raise ConfigError("a task around a template needs a name: ask_task(huey, prompt, name=...)")
    # Huey names a task by the module of its function. That is the module of the caller, two frames up, and not this
    # one, in which two projects might use the same name.
    return declare(function_of_template(prompt, name, sys._getframe(2).f_globals.get("__name__", __name__)))


def _insert_task_parameter(signature: inspect.Signature, own: inspect.Parameter) -> list[inspect.Parameter]:
    parameters = list(signature.parameters.values())
    if own.name in signature.parameters:
        raise ConfigError(f"Huey uses the parameter {own.name!r} itself: give yours another name in the prompt")
    end = next((at for at, each in enumerate(parameters) if each.kind is each.VAR_KEYWORD), len(parameters))
    return [*parameters[:end], own, *parameters[end:]]


def _limit_to_task_time(task: Task, timeout: Any) -> Any:
    """Return the time limits of a call, with a total of at most the time that the task has left."""
    if not task.timeout:
        return timeout

    limits = timeout if isinstance(timeout, Timeouts) else Timeouts(idle=timeout or current_settings().timeout)
    left = max(0.001, task.time_remaining)
    return dataclasses.replace(limits, total=left if limits.total is None else min(left, limits.total))


@contextlib.contextmanager
def _only_transient_retries(task: Task) -> Iterator[None]:
    """Let Huey retry a task only after a failure that may pass, and after its time limit, as a ``TaskTimeout``."""
    try:
        yield
    except TRANSIENT as error:
        if task.is_timed_out:
            raise TaskTimeout(f"timeout {task.timeout}s") from error
        raise
    except (*FLOW_CONTROL, TaskTimeout):
        raise
    except Exception:
        task.retries = 0  # Huey reads the number after this exception.
        raise


def plain_result(reply: Response) -> StoredAnswer:
    """Return an answer as plain data, as a task stores it by default."""
    usage = reply.usage
    stored: StoredAnswer = {
        "text": reply.text,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        },
        "model": reply.meta.get("model"),
        "finish_reason": reply.meta.get("finish_reason"),
        "id": reply.meta.get("id"),
    }
    if reply.refusal:
        stored["refusal"] = reply.refusal
    if reply.parsed is not None:
        dump = getattr(reply.parsed, "model_dump", None)
        stored["parsed"] = dump(mode="json") if dump is not None else reply.parsed
    return stored
