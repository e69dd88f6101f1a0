"""What is asked of a provider besides conversations: stored answers, and transcriptions."""

from __future__ import annotations

import functools
import mimetypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aquila.engine.calls.call_plan import CallPlan, plan_operation
from aquila.engine.calls.error_translation import ErrorContext, decode_json_answer
from aquila.engine.calls.options import Options
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints import responses
from aquila.engine.loop.request_loop import RequestLoop
from aquila.engine.loop.steps import RequestOutcome, SendRequest, Sleep, Steps
from aquila.errors import ConfigError, ProviderError
from aquila.events import Progress
from aquila.response import Response, Transcription


class StoredResponseLoop(RequestLoop):
    """Loop of a stored answer: fetch or cancel it, and wait until it is finished if that is asked for."""

    def __init__(
        self, plan: CallPlan, telemetry: Telemetry, where: ErrorContext, *, id: str, path: str, waits: bool = False
    ) -> None:
        super().__init__(plan.options, telemetry, where)
        self.parser = responses.make_parser(self._tags)
        self._id = id
        self._path = path
        self._waits = waits

    def steps(self) -> Steps:
        """Fetch, and fetch again while it is unfinished."""
        self._turns += 1
        answer = yield from self._fetch_answer(self._path)
        while self._waits and responses.poll_request(answer) is not None:
            status = str(answer.get("status"))
            self._telemetry.report_request_stop()
            yield self._report_and_emit(Progress("response", status, ref=self.call.ref, metadata=self.call.metadata))
            if self.call.transport != "replay":  # what a cassette holds is there at once
                yield Sleep(self._options.poll_interval)
            answer = yield from self._fetch_answer(self._path)
        try:
            yield self._report_and_emit(*self.parser.feed_complete_answer(answer))
            turn = self.parser.finish()
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__
        self._telemetry.report_request_stop(turn)
        self.result = Response(
            text=turn.text,
            usage=turn.usage,
            meta={
                "ref": self.call.ref,
                "model": turn.model,
                "endpoint": "responses",
                "finish_reason": turn.finish_reason,
                "id": turn.id,
                "request_id": self._request_id,
                "metadata": self.call.metadata,
                "transport": self.call.transport,
                "turns": 1,
                "retries": self._retries,
                "stopped": None,
            },
            raw=turn.raw,
            messages=(turn.message,),
            reasoning=turn.reasoning,
            refusal=turn.refusal,
            tool_calls=tuple(self._tool_call_event(call) for call in turn.message.calls),
        )

    def _fetch_answer(self, path: str) -> Steps:
        outcome: RequestOutcome = yield from self._send_with_retries(
            lambda: SendRequest({"response_id": self._id}, path, unstreamed=True)
        )
        return decode_json_answer(outcome.body or b"", outcome.headers, self.error_context)


class SingleRequest(RequestLoop):
    """Loop of a single request; ``read`` makes the result of its answer."""

    def __init__(
        self,
        plan: CallPlan,
        telemetry: Telemetry,
        where: ErrorContext,
        *,
        request: Mapping[str, Any],
        path: str,
        read: Callable[[SingleRequest, RequestOutcome], Any],
    ) -> None:
        super().__init__(plan.options, telemetry, where)
        self._request = request
        self._path = path
        self._read_answer = read

    def steps(self) -> Steps:
        """Send the one request."""
        self._turns += 1
        outcome: RequestOutcome = yield from self._send_with_retries(
            lambda: SendRequest(self._request, self._path, unstreamed=True)
        )
        self._telemetry.report_request_stop()
        try:
            self.result = self._read_answer(self, outcome)
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__

    def answer_meta(self, **more: Any) -> dict[str, Any]:
        """What every answer tells about its call."""
        return {
            "ref": self.call.ref,
            "model": self.call.model,
            "request_id": self._request_id,
            "metadata": self.call.metadata,
            "transport": self.call.transport,
            "retries": self._retries,
            **more,
        }


def plan_retrieval(operation: str, id: Any, options: Mapping[str, Any], *, path: str, waits: bool = False) -> CallPlan:
    """Return the plan that fetches (or cancels) a stored answer."""
    make = functools.partial(StoredResponseLoop, id=_id_of(id), path=path, waits=waits)
    return plan_operation(operation, make, options, ("poll_interval", "sink") if waits else ())


def plan_deletion(id: Any, options: Mapping[str, Any]) -> CallPlan:
    """Return the plan that deletes a stored answer."""
    make = functools.partial(
        SingleRequest, request={"response_id": _id_of(id)}, path="responses.delete", read=lambda loop, outcome: True
    )
    return plan_operation("delete_response", make, options, ())


def _id_of(value: Any) -> str:
    """The id of an answer: as text, or of a ``Response``."""
    found = value.meta.get("id") if isinstance(value, Response) else value
    if not isinstance(found, str) or not found.strip():
        raise ConfigError(f"the id of a response is text such as 'resp_123', or a Response that has one, not {found!r}")
    return found


TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_TRANSCRIPTION = ("model", "temperature", "provider_options")


def plan_transcription(source: Any, options: Mapping[str, Any]) -> CallPlan:
    """Return the plan that writes down what is said in a sound."""
    given = dict(options)
    fields = {name: given.pop(name, None) for name in ("language", "prompt", "response_format", "filename")}
    raw = given.pop("raw", False)
    for name, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"option {name!r} must be text, not {type(value).__name__}")
    if fields["response_format"] not in (None, *FORMATS):
        raise ConfigError(f"option 'response_format' must be one of {', '.join(FORMATS)}")
    if not isinstance(raw, bool):
        raise ConfigError(f"option 'raw' must be True or False, not {raw!r}")
    data, name = _read_sound(source, fields.pop("filename"))
    checked = Options.build({key: value for key, value in given.items() if key in _TRANSCRIPTION})
    request = {
        "file": (name, data, mimetypes.guess_type(name)[0] or "application/octet-stream"),
        "model": checked.model or TRANSCRIPTION_MODEL,
        **{key: value for key, value in {**fields, "temperature": checked.temperature}.items() if value is not None},
        "extra_body": dict(checked.provider_options) or None,
    }
    make = functools.partial(
        SingleRequest,
        request=request,
        path="audio.transcriptions.create",
        read=functools.partial(_read_transcription, raw=raw),
    )
    given["model"] = request["model"]
    return plan_operation("transcription", make, given, _TRANSCRIPTION)


def _read_sound(source: Any, filename: str | None) -> tuple[bytes, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), filename or "audio.wav"
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            data, name = path.read_bytes(), filename or path.name
        except OSError as error:
            raise ConfigError(f"transcribe({str(source)[:80]!r}): the file cannot be read: {error.strerror}") from error
    else:
        raise ConfigError(f"transcribe() takes a path or bytes, not {type(source).__name__}")
    if not data:
        raise ConfigError("transcribe(): the sound is empty")
    return data, name


def _read_transcription(loop: SingleRequest, outcome: RequestOutcome, *, raw: bool) -> Any:
    body, kind = outcome.body or b"", outcome.headers.get("content-type", "")
    if (kind.startswith("text/") and "html" not in kind) or not kind:  # subtitles have types of their own
        answer: Any = body.decode("utf-8", errors="replace")
        text = answer
    else:  # JSON, or a page that is refused
        answer = decode_json_answer(body, outcome.headers, loop.error_context)
        text = answer.get("text") or ""
    if raw:
        return answer
    told = answer if isinstance(answer, dict) else {}
    return Transcription(
        text=text.rstrip("\n"),
        language=told.get("language"),
        duration=told.get("duration"),
        segments=tuple(told.get("segments") or ()),
        raw=answer,
        meta=loop.answer_meta(),
    )
