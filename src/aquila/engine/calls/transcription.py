"""Plans a request that transcribes a sound, and reads the text that the provider returns."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from aquila.engine.calls.call_plan import CallPlan, plan_operation
from aquila.engine.calls.error_translation import decode_json_answer
from aquila.engine.calls.options import TRANSCRIBE_OPTIONS, Options
from aquila.engine.endpoints.answer_form import require_form
from aquila.engine.loop.single_request import SingleRequest
from aquila.engine.loop.steps import RequestOutcome
from aquila.errors import ConfigError
from aquila.response import Transcription

TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
# The type is part of the request and so of its recording. What `mimetypes` says depends on the system's tables and on
# the version of Python.
_MEDIA_TYPES: Mapping[str, str] = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpga": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".wav": "audio/x-wav",
    ".webm": "video/webm",
}
"""The media type of each format that OpenAI transcribes, by the suffix of the file's name."""


def plan_transcription(source: Any, given: Mapping[str, Any]) -> CallPlan:
    """Return the plan of a transcription.

    ``source``: the path of a sound file, or its bytes. ``given``: the caller's options by name. Raises ``ConfigError``
    for a source that cannot be read or sent, and ``UnknownOption``.
    """
    options = Options.check(given, TRANSCRIBE_OPTIONS, operation="transcription")
    data, name = _read_sound(source, options.filename)
    fields = ("language", "prompt", "response_format", "temperature")
    request = {
        "file": (name, data, _MEDIA_TYPES.get(PurePath(name).suffix.lower(), "application/octet-stream")),
        "model": options.model or TRANSCRIPTION_MODEL,
        **{field: value for field in fields if (value := getattr(options, field)) is not None},
        "extra_body": dict(options.provider_options) or None,
    }
    read = functools.partial(_read_transcription, raw=options.raw)
    make_loop = functools.partial(SingleRequest, request=request, path="audio.transcriptions.create", read=read)
    return plan_operation("transcription", make_loop, {**given, "model": request["model"]}, TRANSCRIBE_OPTIONS)


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
    # The formats text, srt and vtt come as plain text. An HTML page comes from a wrong base URL or a proxy.
    if (kind.startswith("text/") and "html" not in kind) or not kind:
        answer: Any = body.decode("utf-8", errors="replace")
        text = answer
    else:  # JSON; anything else is refused
        answer = decode_json_answer(body, outcome.headers, loop.error_context)
        require_form(answer, {"text": str, "segments": list}, "the answer")
        text = answer.get("text") or ""
    if raw:
        return answer
    fields = answer if isinstance(answer, dict) else {}
    return Transcription(
        text=text.rstrip("\n"),
        language=fields.get("language"),
        duration=fields.get("duration"),
        segments=tuple(fields.get("segments") or ()),
        raw=answer,
        meta=loop.answer_meta(),
    )
