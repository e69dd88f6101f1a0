"""Test code that talks to language models: record the real answer once, replay it for ever, fail loudly on drift.

``ask`` and ``stream`` talk to a model; with ``cassette=`` or in a test of the pytest plugin their answers are recorded
and replayed. ``http_client`` and ``async_http_client`` give any other openai client the same.

Names are imported when they are first used, so importing the package costs little. ``docs/api.md`` lists everything
public, also that of ``aquila.huey``, ``aquila.cassettes`` and the plugin.

PYTEST_DONT_REWRITE
"""

# For developers: "The plan of the house" in CONTRIBUTING.md says which folder does what, and in which layers they are.

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers take it for True; importing ``typing`` would take most of this module's time
if TYPE_CHECKING:
    from aquila import errors as errors
    from aquila import hookspecs as hookspecs
    from aquila import research as research
    from aquila import vcr as vcr
    from aquila.api import aask as aask
    from aquila.api import acancel_response as acancel_response
    from aquila.api import adelete_response as adelete_response
    from aquila.api import aretrieve_response as aretrieve_response
    from aquila.api import ask as ask
    from aquila.api import astream as astream
    from aquila.api import atranscribe as atranscribe
    from aquila.api import cancel_response as cancel_response
    from aquila.api import delete_response as delete_response
    from aquila.api import retrieve_response as retrieve_response
    from aquila.api import stream as stream
    from aquila.api import transcribe as transcribe
    from aquila.content import Audio as Audio
    from aquila.content import File as File
    from aquila.content import Image as Image
    from aquila.content import Part as Part
    from aquila.content import Text as Text
    from aquila.content import audio as audio
    from aquila.content import file as file
    from aquila.content import image as image
    from aquila.content import image_url as image_url
    from aquila.engine.calls.options import AskOptions as AskOptions
    from aquila.engine.calls.options import RequestOptions as RequestOptions
    from aquila.engine.calls.options import ResultOptions as ResultOptions
    from aquila.engine.calls.options import TranscribeOptions as TranscribeOptions
    from aquila.engine.calls.timeouts import Timeouts as Timeouts
    from aquila.engine.streams.async_stream import AsyncStream as AsyncStream
    from aquila.engine.streams.sync_stream import Stream as Stream
    from aquila.events import Chunk as Chunk
    from aquila.events import Done as Done
    from aquila.events import Event as Event
    from aquila.events import Failed as Failed
    from aquila.events import Progress as Progress
    from aquila.events import Reasoning as Reasoning
    from aquila.events import Refusal as Refusal
    from aquila.events import Retry as Retry
    from aquila.events import ToolCall as ToolCall
    from aquila.events import ToolResult as ToolResult
    from aquila.events import Usage as Usage
    from aquila.intercept.use_cassette import use_cassette as use_cassette
    from aquila.messages import AssistantToolCall as AssistantToolCall
    from aquila.messages import Message as Message
    from aquila.messages import MessageLike as MessageLike
    from aquila.messages import Prompt as Prompt
    from aquila.messages import Role as Role
    from aquila.plugins import register as register
    from aquila.plugins import unregister as unregister
    from aquila.response import Response as Response
    from aquila.response import Transcription as Transcription
    from aquila.sinks import Collector as Collector
    from aquila.sinks import Sink as Sink
    from aquila.tools import Tool as Tool
    from aquila.tools import ToolLike as ToolLike
    from aquila.tools import tool as tool
    from aquila.transports.client_options import HttpClientOptions as HttpClientOptions
    from aquila.transports.clients import async_http_client as async_http_client
    from aquila.transports.clients import http_client as http_client

__version__ = "0.1.0"
"""The version of this package.

Examples:
    >>> tuple(int(part) for part in aquila.__version__.split(".")[:2]) >= (0, 1)
    True
"""

_NAMES = {
    name: module
    for module, names in (
        ("api", "ask stream aask astream retrieve_response aretrieve_response cancel_response acancel_response"),
        ("api", "delete_response adelete_response transcribe atranscribe"),
        ("", "research vcr errors hookspecs"),
        ("response", "Response Transcription"),
        ("engine.streams.sync_stream", "Stream"),
        ("engine.streams.async_stream", "AsyncStream"),
        ("engine.calls.options", "AskOptions RequestOptions ResultOptions TranscribeOptions"),
        ("engine.calls.timeouts", "Timeouts"),
        ("events", "Event Chunk Reasoning Refusal ToolCall ToolResult Progress Retry Usage Done Failed"),
        ("sinks", "Sink Collector"),
        ("tools", "tool Tool ToolLike"),
        ("messages", "Message MessageLike AssistantToolCall Role Prompt"),
        ("content", "Part Text Image File Audio image image_url file audio"),
        ("transports.client_options", "HttpClientOptions"),
        ("transports.clients", "http_client async_http_client"),
        ("intercept.use_cassette", "use_cassette"),
        ("plugins", "register unregister"),
    )
    for name in names.split()
}
"""Every public name and the module that defines it; "" for a module of the package itself."""

# Public names whose module imports a package that only an extra of Aquila installs.
_NEEDS_AN_EXTRA = ("vcr",)

# `from aquila import *` imports every name listed here, so a name that needs an extra must not be listed.
__all__ = [*(name for name in _NAMES if name not in _NEEDS_AN_EXTRA), "__version__"]  # noqa: PLE0604


if not TYPE_CHECKING:  # a type checker that sees `__getattr__` accepts any misspelt name

    def __getattr__(name):
        """Import a public name when it is first used."""
        module = _NAMES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from aquila.lazy_imports import import_module  # noqa: PLC0415 - so that `import aquila` loads nothing

        value = getattr(import_module(f"{__name__}.{module}"), name) if module else import_module(f"{__name__}.{name}")
        # Kept for the life of the process: the next use finds the name and does not call this function again.
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})


# `AQUILA_RUN` is set by a test run for its child processes, `AQUILA_UNDER_TEST` by users for a worker that takes
# part in tests. In both cases the rules of the test run hold in this process too.
if "AQUILA_RUN" in os.environ or "AQUILA_UNDER_TEST" in os.environ:
    from aquila.intercept.processes.parent_run import join_parent_run

    join_parent_run()
    del join_parent_run
