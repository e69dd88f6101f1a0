"""Redacts recordings again when they are stored: by then, more may be known to be secret than when they were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, quote_plus

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.recording.secrets import redactors
from aquila.recording.storing.journal_merging import JournalGroup, stored_key


def redact_rows(
    own: Sequence[NewRecording],
    others: Sequence[NewRecording],
    redactor: Redactor,
    known: int,
    key_of: Callable[[RecordedRequest], str],
    count_stored: Callable[[str], int],
) -> list[NewRecording]:
    """Return the recordings of this process (``own``) and of ``others``, redacted with the secrets that are known now.

    ``known`` is how many secrets ``redactor`` had learned when the first of ``own`` was made. ``key_of`` returns the
    key of a stored request, and ``count_stored`` how many stored recordings a key has. Requests that become equal by
    redaction get the positions after those, in their order.
    """
    rows = [*own, *others]
    credentials = redactor.header_credentials()
    for row in rows if credentials else ():  # the body of a request may have to be read from a file
        credentials -= _held_in(row.interaction.request, credentials)
    clean = [redact_again(row, redactor, credentials) for row in own] if redactor.count_learned() != known else [*own]
    # Another process may not have known secrets that ``redactor`` has known from the beginning.
    clean += [redact_again(row, redactor, credentials) for row in others]
    return _place_again(clean, rows, key_of, count_stored)


def redact_groups(
    groups: Mapping[JournalGroup, Sequence[NewRecording | RecordingPlayed]], keep_headers: tuple[str, ...]
) -> dict[JournalGroup, list[NewRecording | RecordingPlayed]]:
    """Do the same for cassettes that only other processes have used. ``groups`` are the rows of their journals."""
    clean: dict[JournalGroup, list[NewRecording | RecordingPlayed]] = {}
    for group, rows in groups.items():
        rules, made = group[-1], [row for row in rows if isinstance(row, NewRecording)]
        redactor = redactors.redactor_for(rules, keep_headers)
        key_of = stored_key(rules, keep_headers)
        clean[group] = [row for row in rows if isinstance(row, RecordingPlayed)]
        clean[group] += redact_rows((), made, redactor, 0, key_of, lambda key: 0)
    return clean


def redact_again(row: NewRecording, redactor: Redactor, credentials: frozenset[str]) -> NewRecording:
    """Return a recording, with its files, redacted with the secrets that are known now. It keeps its key.

    Of the credentials in other requests, only these ``credentials`` are removed from its answer.
    """
    clean = redactor.redact_interaction(row.interaction, credentials)
    return row if clean is row.interaction else replace(row, interaction=clean)


def _held_in(request: RecordedRequest, credentials: frozenset[str]) -> frozenset[str]:
    """Return which credentials of other requests this one has in its URL or its body, such as the id of a session.

    It is stored with them. A program that takes them from an answer would miss it with a placeholder.
    """
    body = request.body
    return frozenset(
        value
        for value in credentials
        for text in {value, quote(value, errors="surrogatepass"), quote_plus(value, errors="surrogatepass")}
        if text in request.url or text.encode("utf-8", "surrogatepass") in body
    )


def _place_again(
    rows: Sequence[NewRecording],
    before: Sequence[NewRecording],
    key_of: Callable[[RecordedRequest], str],
    count_stored: Callable[[str], int],
) -> list[NewRecording]:
    """Return redacted recordings under their new keys. ``before`` are the same recordings before the redaction."""
    keys = [
        row.key if row.interaction.request == old.interaction.request else key_of(row.interaction.request)
        for row, old in zip(rows, before, strict=True)
    ]
    changed = {key for row, key in zip(rows, keys, strict=True) if key != row.key}
    if not changed:
        return list(rows)
    positions: Counter[str] = Counter()
    placed = []
    for row, key in sorted(zip(rows, keys, strict=True), key=lambda pair: pair[0].order):
        if key in changed:
            placed.append(replace(row, key=key, position=count_stored(key) + positions[key]))
            positions[key] += 1
        else:
            placed.append(row)
    return placed
