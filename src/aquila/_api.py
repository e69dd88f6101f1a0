"""The functions of the package: ``ask``, ``stream`` and their asynchronous twins.

A module of its own, so that importing the package loads nothing of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aquila.engine.astream import AsyncStream
    from aquila.engine.stream import Stream
    from aquila.response import Response


def ask(prompt: Any, **options: Any) -> Response:
    """Ask a model and return its complete answer.

    ``prompt`` is text, a message (``Message``, a dict, ``(role, content)``), or a list of them. The options:

    - ``model``, ``instructions`` (the system prompt), ``endpoint``: ``"chat"`` (the default) or ``"responses"``;
    - ``temperature``, ``seed`` (chat only), ``max_output_tokens``, also called ``max_completion_tokens``;
    - ``metadata``: a mapping that comes back in ``reply.meta`` and in every event; never part of what identifies a
      recording. It is sent to the provider on the Responses API only, as text, because chat refuses it;
    - ``cassette``, ``transport``: where the answer comes from; see the guide on transports;
    - ``base_url``, ``api_key``: the provider;
    - ``timeout``: the longest silence in seconds (30), or ``Timeouts(connect=, read=, idle=, total=)``;
    - ``max_retries``: of a request whose answer has not begun (2);
    - ``provider_options``: a mapping that is merged into the request's body;
    - ``sink``: where events are pushed on the way.

    Raises ``ConfigError`` for what cannot be sent, ``ProviderError`` for what the provider does, and what the transport
    raises, such as ``CassetteMiss``.
    """
    from aquila.engine.stream import ask

    return ask(prompt, options)


def stream(prompt: Any, **options: Any) -> Stream:
    """Ask a model and return a ``Stream`` of the events of its answer. The options are those of ``ask``.

    With ``sink=`` the stream starts at once on a background thread and pushes its events there.
    """
    from aquila.engine.stream import stream

    return stream(prompt, options)


async def aask(prompt: Any, **options: Any) -> Response:
    """``ask`` for asynchronous code: the same options, answers and errors."""
    from aquila.engine.astream import aask

    return await aask(prompt, options)


def astream(prompt: Any, **options: Any) -> AsyncStream:
    """``stream`` for asynchronous code: the same options, events and errors. Not a coroutine: use ``async with``."""
    from aquila.engine.astream import astream

    return astream(prompt, options)
