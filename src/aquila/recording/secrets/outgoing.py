"""Keeps secrets out of text that leaves the process: the log, the terminal, the output of commands, names of tests.

What goes into cassettes is redacted by the redactor of the session. Everything else passes through this module.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any

from aquila import errors
from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.cassettes.redaction import redactor
    from aquila.recording.secrets import redactors
    from aquila.recording.sessions import session_factory
else:
    # Most labels hold nothing that may be a secret.
    lazy_modules(
        globals(),
        "aquila.cassettes.redaction: redactor",
        "aquila.recording.secrets: redactors",
        "aquila.recording.sessions: session_factory",
    )

_RUN = lazy_pattern(r"[\w-]{16,}+", re.ASCII)
_DIGIT = lazy_pattern(r"[0-9]")
_SUSPICIOUS = lazy_pattern(r"@|\*{4}|[?&;#][\w-]+=|earer|asic |PRIVATE KEY|[\\%]", re.ASCII)
_UNREADABLE = "a line that could not be redacted was left out"


def redact_outgoing(text: str) -> str:
    """Return a text without secrets: those of the machine and of requests so far, and what looks like one."""
    return run_redactor().redact_text(text)


def redact_label(text: str) -> str:
    """Return a name, an id or a line of Aquila's own without secrets. Fast if it cannot hold any."""
    return redact_outgoing(text) if _may_hold_secret(text) else text


def redact_known(text: str) -> str:
    """Return a text without secrets if it holds one of the machine; else unchanged, whatever looks like a secret."""
    return redact_outgoing(text) if _holds_known_secret(text) else text


def redact_outgoing_value(value: Any) -> Any:
    """Return a JSON value whose texts hold no secrets."""
    if isinstance(value, str):
        return redact_outgoing(value)
    if isinstance(value, dict):
        return {redact_outgoing(key): redact_outgoing_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact_outgoing_value(each) for each in value]
    return value


def _may_hold_secret(text: str) -> bool:
    # In two steps, each of which reads the text once: the parameter of a test may be a text of megabytes.
    if _SUSPICIOUS.search(text) is not None or any(map(_DIGIT.search, _RUN.findall(text))):
        return True
    return _holds_known_secret(text)


def _holds_known_secret(text: str) -> bool:
    known = runtime.current_run().state_of(redactors.RedactorCache).find_secrets()
    return any(value in text for value in known)


def run_redactor() -> redactor.Redactor:
    """Return the redactor for the settings of the run in force."""
    try:
        settings = runtime.current_settings()
        return session_factory.redactor_of(settings)
    except errors.ConfigError:  # a wrong setting; the text to be redacted may be the message about it
        return redactor.Redactor.from_environment(os.environ)


def redact_log_record(record: logging.LogRecord) -> bool:
    """Take the secrets out of a record of Aquila's loggers: a filter that lets all records pass.

    A record without secrets stays as it is, so that tools that group records by their templates still do.
    """
    try:
        message = record.getMessage()
        clean = redact_outgoing(message)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            clean = redact_outgoing(text)
            if clean != text:
                record.exc_text, record.exc_info = clean, None  # many formatters, of JSON for example, read only this
    except Exception:  # noqa: BLE001 - a log must never break a call, nor show what could not be searched
        record.msg, record.args, record.exc_info = _UNREADABLE, None, None
    return True
