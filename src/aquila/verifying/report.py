"""A verification as lines for the terminal, and as JSON for a CI job. Secrets are redacted only in the JSON."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aquila.plurals import count_of
from aquila.recording.secrets.outgoing import redact_outgoing_value
from aquila.verifying.comparison import Severity
from aquila.verifying.verification import Measured, Result, Verification, VerifiedRecording

_REPORT_VERSION = 1
_MOST_PLACES = 3
_ID = re.compile(
    r"(?<![\w.-])(?:[a-z]+[_-](?=\w*\d)(?!(?:[a-z]+_)*20\d{6}\b)\w{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
"""What looks like an id of one object: ``file-9oXb2Lq8Z1``, ``batch_67b1…``, a UUID. No names of models, and none that
end in a date, such as the types of Anthropic's tools (``text_editor_20250728``)."""
_RESULTS: tuple[Result, ...] = ("same", "note", "critical", "not asked", "not verifiable", "skipped")
_SHOWN = {
    "same": "the same",
    "note": "with other fields",
    "critical": "critical",
    "not asked": "not asked",
    "not verifiable": "not verifiable",
    "skipped": "skipped",
}


class ReportLine(NamedTuple):
    """A line for the terminal."""

    text: str
    colour: Literal["red", "yellow", ""] = ""


def describe_verification(verification: Verification, root: Path) -> Iterator[ReportLine]:
    """Yield the lines of a summary: critical findings first, equal texts once. Paths are relative to ``root``."""
    rows = verification.recordings
    yield from (ReportLine(text, "red") for text in _group(_findings_of(rows, "critical"), root))
    yield from (ReportLine(text, "yellow") for text in _group(_findings_of(rows, "note"), root))
    changed = [(f"{row.comparison.likeness}: {row.comparison.detail}", row) for row in rows if _is_other_answer(row)]
    yield from map(ReportLine, _group(changed, root))
    models = [
        (f"answered by {row.now.model}, was {row.then.model}", row)
        for row in rows
        if row.now and row.then and row.now.model and row.then.model and row.now.model != row.then.model
    ]
    yield from map(ReportLine, _group(models, root))
    for result in ("not asked", "not verifiable"):
        found = [(f"{result}: {row.reason}", row) for row in rows if row.result == result]
        yield from (ReportLine(text, "yellow") for text in _group(found, root))
    skipped = _merge_ids((row.reason, row) for row in rows if row.result == "skipped")
    for reason, its_rows in sorted(skipped, key=lambda each: -len(each[1])):
        yield ReportLine(f"skipped: {count_of(len(its_rows), 'recording')}: {reason}")
    if verification.interrupted:
        yield ReportLine("interrupted; what was answered until then is above", "yellow")
    yield _last_line(verification)


def _findings_of(rows: Sequence[VerifiedRecording], severity: Severity) -> Iterator[tuple[str, VerifiedRecording]]:
    for row in rows:
        for each in row.comparison.findings:
            if each.severity == severity:
                yield ": ".join(part for part in (severity, each.path, each.text) if part), row


def _is_other_answer(row: VerifiedRecording) -> bool:
    return row.comparison.likeness not in ("identical", "reworded", "not comparable")


def _merge_ids(found: Iterable[tuple[str, VerifiedRecording]]) -> list[tuple[str, list[VerifiedRecording]]]:
    """Return each text once, with its recordings. Texts that differ only in ids are one, with ``…`` for these."""
    groups: dict[str, dict[str, list[VerifiedRecording]]] = {}
    for text, row in found:
        groups.setdefault(_ID.sub("…", text), {}).setdefault(text, []).append(row)
    return [
        (masked if len(texts) > 1 else next(iter(texts)), [row for rows in texts.values() for row in rows])
        for masked, texts in groups.items()
    ]


def _group(found: Iterable[tuple[str, VerifiedRecording]], root: Path) -> Iterator[str]:
    for text, rows in _merge_ids(found):
        places = ", ".join(_place_of(row, root) for row in rows[:_MOST_PLACES])
        more = f" and {len(rows) - _MOST_PLACES} more" if len(rows) > _MOST_PLACES else ""
        yield f"{text} [{places}{more}]"


def _place_of(row: VerifiedRecording, root: Path) -> str:
    return f"{_relative(row.played.path, root)} {row.number}"


def _last_line(verification: Verification) -> ReportLine:
    rows = verification.recordings
    answered = [row for row in rows if row.was_answered]
    counts = ", ".join(f"{count} {_SHOWN[each]}" for each in _RESULTS if (count := verification.count_of(each)))
    text = f"{count_of(len(rows), 'recording')}: {counts or 'none played that can be asked'}"
    likeness = Counter(row.comparison.likeness for row in answered if row.comparison.likeness != "not comparable")
    if likeness:
        shares = ", ".join(f"{count} {name}{_similarities(rows, name)}" for name, count in likeness.most_common())
        text += f"; answers: {shares}"
    if answered:
        (then, then_ms), (now, now_ms) = _sums(row.then for row in answered), _sums(row.now for row in answered)
        seconds = f"{then_ms / 1000:.1f} s then", f"{now_ms / 1000:.1f} s now"
        if then or now:  # not every answer reports tokens
            text += f"; {then:,} tokens and {seconds[0]}, {now:,} and {seconds[1]}"
        else:
            text += f"; {', '.join(seconds)}"
    return ReportLine(text, "red" if verification.is_critical or verification.asked_in_vain else "")


def _similarities(rows: Sequence[VerifiedRecording], likeness: str) -> str:
    if likeness != "reworded":
        return ""
    found = [row.comparison.similarity for row in rows if row.comparison.likeness == likeness]
    known = sorted(each for each in found if each is not None)
    lowest, highest = f"{known[0]:.0%}", f"{known[-1]:.0%}"
    return (
        f" ({lowest} of the words the same)" if lowest == highest else f" ({lowest} to {highest} of the words the same)"
    )


def _sums(measured: Iterable[Measured | None]) -> tuple[int, int]:
    known = [each for each in measured if each is not None]
    return sum(each.tokens for each in known), sum(each.milliseconds for each in known)


def _relative(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return os.fspath(path)


def as_json(verification: Verification, root: Path) -> dict[str, Any]:
    """Return the results as JSON values. ``docs/verifying.md`` says what each field means."""
    rows = verification.recordings
    answered = [row for row in rows if row.was_answered]
    (then, then_ms), (now, now_ms) = _sums(row.then for row in answered), _sums(row.now for row in answered)
    result: dict[str, Any] = {
        "aquila_verify": _REPORT_VERSION,
        "interrupted": verification.interrupted,
        "totals": {
            "played": len(rows),
            "asked": len(answered),
            **{_name(each): verification.count_of(each) for each in _RESULTS},
            "then": {"tokens": then, "milliseconds": then_ms},
            "now": {"tokens": now, "milliseconds": now_ms},
        },
        "recordings": [_row_as_json(row, root) for row in rows],
    }
    # A live answer may hold a secret that no recording has.
    cleaned: dict[str, Any] = redact_outgoing_value(result)
    return cleaned


def _name(result: Result) -> str:
    return result.replace(" ", "_")


def _row_as_json(row: VerifiedRecording, root: Path) -> dict[str, Any]:
    recorded, comparison = row.recorded, row.comparison
    answer = {"likeness": comparison.likeness, "similarity": comparison.similarity, "detail": comparison.detail}
    return {
        "cassette": _relative(row.played.path, root),
        "number": row.number,
        "tests": list(row.played.tests),
        "request": None if recorded is None else f"{recorded.request.method} {recorded.request.url}",
        "recorded": None if recorded is None else recorded.recorded,
        "result": _name(row.result),
        "reason": row.reason,
        "findings": list(map(asdict, comparison.findings)),
        "answer": answer if row.was_answered else None,
        "then": None if row.then is None else asdict(row.then),
        "now": None if row.now is None else asdict(row.now),
    }
