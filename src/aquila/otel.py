"""OpenTelemetry: spans and metrics of calls, named by the GenAI semantic conventions.

::

    import aquila
    from aquila.otel import OpenTelemetry

    aquila.register(OpenTelemetry())

Needs ``pip install 'aquila-llm[otel]'`` and an OpenTelemetry SDK that exports. Each request to a provider is a span
``chat <model>``, each run of a tool a span ``execute_tool <name>``. No prompt and no answer is in them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aquila.events import ToolCall, ToolResult
from aquila.hookspecs import AnswerInfo, CallInfo, hookimpl
from aquila.optional import import_optional
from aquila.recording.network.model_hosts import provider_of

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

# Providers to which the semantic conventions give another name than Aquila, for `gen_ai.provider.name`.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gen_ai",
    "mistral": "mistral_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
# From the option of a call to the attribute of the semantic conventions.
_REQUESTED = {
    "temperature": "gen_ai.request.temperature",
    "seed": "gen_ai.request.seed",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "top_p": "gen_ai.request.top_p",
}
# The bucket boundaries that the semantic conventions for GenAI metrics recommend.
_TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]


class OpenTelemetry:
    """The plugin for OpenTelemetry. Without arguments it uses the global tracer and meter providers.

    Raises ``MissingDependency`` if the OpenTelemetry API is not installed.

    Examples:
        >>> from aquila.otel import OpenTelemetry
        >>> plugin = aquila.register(OpenTelemetry())
        >>> reply = aquila.ask("How do eagles fly so far?")    # a span of its own
        >>> aquila.unregister(plugin)
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._trace = import_optional("opentelemetry.trace", "otel", purpose="aquila.otel")
        metrics = import_optional("opentelemetry.metrics", "otel", purpose="aquila.otel")
        self._tracer = self._trace.get_tracer("aquila", tracer_provider=tracer_provider)
        meter = metrics.get_meter("aquila", meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        # The open spans, by the `ref` of their call and the id of their tool call ("" for a request), each with its
        # begin in nanoseconds. A span is removed when it ends, and `aquila_call_stop` removes those that are left.
        # Calls of several threads share it: their keys differ.
        self._spans: dict[tuple[str, str], tuple[Span, int]] = {}

    @hookimpl
    def aquila_request_start(self, call: CallInfo, request: Mapping[str, Any]) -> None:
        """Open the span of a request, under the span that is current where the call is made."""
        attributes = {**_call_attributes(call), "aquila.transport": call.transport}
        if request.get("stream"):
            attributes["gen_ai.request.stream"] = True
        attributes |= {_REQUESTED[name]: value for name, value in call.options.items() if name in _REQUESTED}
        name = f"{_operation_name(call)} {call.model}".rstrip()
        self._begin_span((call.ref, ""), name, self._trace.SpanKind.CLIENT, attributes)

    @hookimpl
    def aquila_request_stop(
        self, call: CallInfo, answer: AnswerInfo | None, error: BaseException | None, seconds: float
    ) -> None:
        """End the span of a request, and count its tokens and its time."""
        about = _call_attributes(call)
        span, _ = self._spans.pop((call.ref, ""), (None, 0))
        if answer is not None:
            about |= _model_attributes(answer, call)
            if answer.usage.reported:
                for kind, count in (("input", answer.usage.input_tokens), ("output", answer.usage.output_tokens)):
                    self._tokens.record(count, {**about, "gen_ai.token.type": kind})
        if error is not None:
            about["error.type"] = _error_type(error)
        self._duration.record(seconds, about)
        if span is not None:
            if answer is not None:
                span.set_attributes(_answer_attributes(answer, call))
            self._end_span(span, error)

    @hookimpl
    def aquila_tool_call(self, call: CallInfo, event: ToolCall) -> None:
        """Open the span of a tool."""
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.name,
            "gen_ai.tool.call.id": event.id,
            "gen_ai.tool.type": "function",
        }
        self._begin_span((call.ref, event.id), f"execute_tool {event.name}", self._trace.SpanKind.INTERNAL, attributes)

    @hookimpl
    def aquila_tool_result(self, call: CallInfo, event: ToolResult, seconds: float) -> None:
        """End the span of a tool. Of tools that run at the same time, some have ended before this is called."""
        span, began = self._spans.pop((call.ref, event.id), (None, 0))
        if span is not None:
            if event.error is not None:
                span.set_attribute("error.type", "tool_error")
                span.set_status(self._trace.StatusCode.ERROR)
            span.end(began + round(seconds * 1e9))

    @hookimpl
    def aquila_call_stop(self, call: CallInfo, error: BaseException | None) -> None:
        """End the spans of the call that are still open: those of tools whose error ends the call."""
        for key in [key for key in list(self._spans) if key[0] == call.ref]:
            span, _ = self._spans.pop(key)
            self._end_span(span, error)

    def _begin_span(self, key: tuple[str, str], name: str, kind: Any, attributes: Mapping[str, Any]) -> None:
        began = time.time_ns()
        span = self._tracer.start_span(name, kind=kind, attributes=attributes, start_time=began)
        self._spans[key] = span, began

    def _end_span(self, span: Span, error: BaseException | None) -> None:
        if error is not None:
            span.set_attribute("error.type", _error_type(error))
            span.set_status(self._trace.StatusCode.ERROR, type(error).__name__)
        span.end(time.time_ns())


def _operation_name(call: CallInfo) -> str:
    # The conventions name the operation of both chat APIs `chat`.
    return {"chat": "chat", "responses": "chat"}.get(call.operation, call.operation)


def _call_attributes(call: CallInfo) -> dict[str, Any]:
    parts = urlsplit(call.base_url)
    host = parts.hostname or ""
    provider = provider_of(host) or "openai"  # whose API another server has
    about: dict[str, Any] = {
        "gen_ai.operation.name": _operation_name(call),
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
    }
    if call.model:
        about["gen_ai.request.model"] = call.model
    if host:
        about["server.address"] = host
        about["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
    return about


def _model_attributes(answer: AnswerInfo, call: CallInfo) -> dict[str, Any]:
    model = answer.model or call.model
    return {"gen_ai.response.model": model} if model else {}


def _answer_attributes(answer: AnswerInfo, call: CallInfo) -> Mapping[str, Any]:
    attributes: dict[str, Any] = _model_attributes(answer, call)
    if answer.id:
        attributes["gen_ai.response.id"] = answer.id
    if answer.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = [answer.finish_reason]
    if answer.usage.reported:
        attributes |= {
            "gen_ai.usage.input_tokens": answer.usage.input_tokens,
            "gen_ai.usage.output_tokens": answer.usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": answer.usage.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": answer.usage.reasoning_tokens,
        }
    return attributes


def _error_type(error: BaseException) -> str:
    status = getattr(error, "status", None)
    return str(status) if status else type(error).__name__
