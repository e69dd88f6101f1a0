"""The differences between a request and the most similar recording."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from aquila.cassettes.answers.answer_text import join_texts
from aquila.cassettes.matching.difference import ABSENT, dump_json
from aquila.cassettes.matching.miss_message import compare_with_recordings
from aquila.cassettes.model import RecordedRequest
from aquila.errors import CassetteCorrupt
from aquila.recording.sessions.session import Session
from aquila.run_report.bodies import Bodies
from aquila.run_report.large_answers import read_body_of
from aquila.run_report.redaction import ExchangeRedactor
from aquila.run_report.schema import Change, Drift, Text
from aquila.wire_forms.sent import SentRequest
from aquila.wire_forms.table import read_sent

_MOST_CHANGES = 50


def describe_drift(request: RecordedRequest, session: Session, bodies: Bodies) -> Drift | None:
    """Return how a request differs from the most similar recording of a session, or None if none is similar.

    The request must be redacted already. Of the cassette only the name is filled in.
    """
    recordings = session.cassette.interactions
    if not recordings:
        return None
    explained = compare_with_recordings(
        request,
        recordings=recordings,
        rules=session.rules,
        cassette=session.name,
        command="",
        redactor=session.redactor,
        compares_origin=session.rules.compares_origin,
    )
    if explained.nearest is None:
        return None
    group = explained.group or explained.text
    drift: Drift = {
        "cassette": session.name,
        "number": explained.nearest + 1,
        "group": hashlib.sha256(group.encode("utf-8", "replace")).hexdigest()[:12],  # a short name of it
        "changes": [
            _as_change(each.path, each.recorded, each.now, session, bodies) for each in explained.found[:_MOST_CHANGES]
        ],
    }
    with suppress(CassetteCorrupt):  # the file of a large body is missing
        clean = session.redactor.redact_text  # because large bodies of a recording are not redacted again as a whole
        nearest = ExchangeRedactor([session.redactor]).clean_recording(recordings[explained.nearest])
        was, now = clean(_prompt(read_sent(nearest.request))), _prompt(read_sent(request))
        if was or now:
            drift["prompt_was"], drift["prompt_now"] = bodies.add_text(was), bodies.add_text(now)
        choices = read_body_of(nearest.response).read().choices.values()
        if answer := "\n".join(join_texts(choice.text) for choice in choices if choice.text):
            drift["answer_was"] = bodies.add_text(clean(answer))
    return drift


def _as_change(path: str, was: Any, now: Any, session: Session, bodies: Bodies) -> Change:
    clean = session.redactor.redact_text

    def show(value: Any) -> Text:
        return bodies.add_text(clean(value if isinstance(value, str) else dump_json(value)))

    change: Change = {"path": clean(path)}
    if was is not ABSENT:
        change["was"] = show(was)
    if now is not ABSENT:
        change["now"] = show(now)
    return change


def _prompt(sent: SentRequest) -> str:
    """Return the messages of a request as one text, to be compared word by word."""
    return "\n\n".join(f"{message.role}: {message.text}" for message in sent.messages if message.text)
