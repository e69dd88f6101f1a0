"""Chooses which recordings of a run are asked again and in which order, and says why the others are not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.matching.linked_recordings import GivenIds, group_linked
from aquila.cassettes.matching.provider_ids import ids_named_by
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.redaction.found_secrets import holds_placeholder
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.recording_slots import is_failure
from aquila.errors import AquilaError, CassetteCorrupt
from aquila.recording import runtime
from aquila.recording.network.host_names import DEFAULT_PORTS, is_loopback
from aquila.recording.network.model_hosts import is_prompt, is_provider
from aquila.recording.reporting.play_log import PlayedRecording
from aquila.recording.reporting.played_answers import count_tokens

Place: TypeAlias = tuple[Path, int]
"""A recording: its cassette file, and its number there, from 0."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many recordings are asked: a ``share`` of all, from 0 to 1, or a ``count``; without either, all."""

    share: float | None = None
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> Sample:
        """Read ``10%``, ``20`` or ``all``. Raises ``ValueError``."""
        if text in ("all", "100%"):
            return cls()
        try:
            if text.endswith("%"):
                share, count = float(text[:-1]) / 100, None
            else:
                share, count = None, int(text)
        except ValueError:  # Python's own text says how it reads numbers
            raise ValueError("write a share such as 10%, or a number such as 20") from None
        if share is not None and not 0 < share <= 1:
            raise ValueError("a share is more than 0% and at most 100%")
        if count is not None and count < 1:
            raise ValueError("a number is at least 1")
        return cls(share, count)

    def size_of(self, total: int) -> int:
        """Return how many of ``total`` recordings are chosen. Those that they continue are asked, too."""
        if self.share is not None:
            return math.ceil(round(self.share * total, 9))  # 0.07 * 100 is a little more than 7
        return total if self.count is None else min(self.count, total)


@dataclass(frozen=True, slots=True)
class PlannedQuestion:
    """A recording whose ``request`` is sent again.

    The request names ids from the answers of the recordings ``givers``.
    """

    played: PlayedRecording
    recorded: Interaction
    request: RecordedRequest
    givers: tuple[Place, ...] = ()

    @property
    def place(self) -> Place:
        """The file and the number that identify the recording."""
        return self.played.place

    @property
    def upstream(self) -> str:
        """The upstream that is asked: that of the settings, but the local model for what was recorded from it."""
        return _upstream_of(self.played, self.recorded)

    @property
    def tokens(self) -> int:
        """The tokens that the answer cost when it was recorded."""
        return count_tokens(self.recorded)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A recording that is not asked, and why.

    ``is_skipped`` is False if its request cannot be sent as it was, or its answers cannot be compared.
    """

    played: PlayedRecording
    recorded: Interaction | None
    reason: str
    is_skipped: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked: independent conversations, each with its questions in order; and what is set ``aside``."""

    conversations: Sequence[Sequence[PlannedQuestion]] = ()
    aside: Sequence[SetAside] = field(default=())

    @property
    def questions(self) -> list[PlannedQuestion]:
        """The questions of all conversations."""
        return [question for conversation in self.conversations for question in conversation]


def make_plan(played: Iterable[PlayedRecording], sample: Sample) -> Plan:
    """Return the plan for the recordings that a run ``played``. Reads their cassettes."""
    recordings = _Recordings()
    aside: list[SetAside] = []
    candidates: dict[Place, PlannedQuestion] = {}
    for each in played:
        recorded, problem = recordings.find(each)
        if recorded is not None and (reason := _why_skipped(each, recorded)):
            aside.append(SetAside(each, recorded, reason))
        elif recorded is None or (problem := _why_not_verifiable(each, recorded)):
            aside.append(SetAside(each, recorded, problem, is_skipped=False))
        else:
            candidates[each.place] = PlannedQuestion(each, recorded, each.request or recorded.request)
    for place, question in list(candidates.items()):
        candidates[place] = replace(question, givers=tuple(recordings.givers_of(question)))
    _drop_without_beginning(candidates, aside, recordings)
    chosen = _choose(candidates, sample)
    for question in candidates.values():
        if question.place not in chosen:
            aside.append(SetAside(question.played, question.recorded, "not in the sample"))
    return Plan(_conversations_of([one for one in candidates.values() if one.place in chosen]), aside)


def _upstream_of(played: PlayedRecording, recorded: Interaction) -> str:
    # A cassette may only choose between these two. Another upstream that a file names could be a factory, which would
    # be imported and called.
    return "local" if (played.upstream, recorded.upstream) == ("live", "local") else played.upstream


class _Recordings:
    """The cassettes of the recordings that were played, each read once. It lives while one plan is made."""

    def __init__(self) -> None:
        self._cassettes: dict[Path, Cassette | str] = {}
        self._given: dict[Path, GivenIds] = {}

    def find(self, played: PlayedRecording) -> tuple[Interaction | None, str]:
        """Return a recording and an empty text, or None and the reason why there is none."""
        cassette = self._cassettes.get(played.path)
        if cassette is None:
            try:
                cassette = load_cassette(played.path)
            except (AquilaError, OSError) as error:
                cassette = f"its cassette cannot be read: {error}"
            self._cassettes[played.path] = cassette
        if isinstance(cassette, str):
            return None, cassette
        if played.number >= len(cassette.interactions):
            return None, "its cassette was changed during the run"
        return cassette.interactions[played.number], ""

    def describe(self, place: Place) -> str:
        """Return the name of a recording for messages."""
        return f"recording {place[1] + 1} of {place[0].name}"

    def givers_of(self, question: PlannedQuestion) -> Iterable[Place]:
        """Return the recordings whose answers hold the ids that a request names: first from its own cassette."""
        named = ids_named_by(question.request)
        own = question.played.path
        found: dict[Place, None] = {}
        for path in dict.fromkeys((own, *self._cassettes)):
            given = {each.value: each.number for each in self._given_by(path).find_in(named)}
            for value, number in given.items():
                if (path, number) != question.place:
                    found[path, number] = None
                    named.pop(value, None)
        return found

    def _given_by(self, path: Path) -> GivenIds:
        if path not in self._given:
            cassette = self._cassettes[path]
            interactions = () if isinstance(cassette, str) else cassette.interactions
            self._given[path] = GivenIds(interactions, [""] * len(interactions))
        return self._given[path]


def _why_skipped(played: PlayedRecording, recorded: Interaction) -> str:
    """Return why a recording is not meant to be asked again; an empty text if it is."""
    response, request = recorded.response, recorded.request
    if response.end in ("broken", "silent"):
        return {"broken": "the recorded answer broke off", "silent": "the recorded answer fell silent"}[response.end]
    if is_failure(response):
        return f"the recorded answer is a temporary failure ({response.status})"
    if response.status in (401, 403):
        return f"the recorded answer is an error about the key ({response.status})"
    if recorded.kind == "websocket":
        return "a conversation over a WebSocket, which is not asked again"
    if not is_prompt(request.method, urlsplit(request.url).path):
        return f"no prompt for a model: {request.method} {urlsplit(request.url).path}"
    if _upstream_of(played, recorded) == "live":
        if recorded.upstream not in ("", "live"):
            return f"it was recorded from {recorded.upstream}: verify it with --aquila-upstream={recorded.upstream}"
        if played.request is None and not _is_of_known_host(request.url):
            return "another process sent it to a host that the settings do not name as a provider"
    return ""


def _why_not_verifiable(played: PlayedRecording, recorded: Interaction) -> str:
    """Return why a request cannot be sent as it was, or its answers not be compared; an empty text if they can."""
    if played.is_filtered and played.change_response is None:
        return "a function changes its stored answer, and only its worker has that function: verify without -n"
    if played.request is None and isinstance(recorded.request, StoredRequest):
        return "it is a large upload, which is not sent again"
    request, chunks = played.request or recorded.request, recorded.response.chunks
    if holds_placeholder(request.url.encode()) or holds_placeholder(request.body):
        return "it holds a placeholder for a secret"
    if isinstance(chunks, StoredChunks):
        try:
            chunks.check_present()
        except CassetteCorrupt as error:
            return str(error)
    return ""


def _is_of_known_host(url: str) -> bool:
    """Whether the host of a URL from a file is one to which this project sends prompts."""
    # A cassette may come from a stranger: a URL in it must not get the machine's key or the project's prompts.
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    return is_loopback(host) or is_provider(host, port, runtime.current_settings())


def _drop_without_beginning(
    candidates: dict[Place, PlannedQuestion], aside: list[SetAside], recordings: _Recordings
) -> None:
    """Set aside the questions that continue an answer which is not asked again, because its ids stay unknown."""
    while True:
        lost = [each for each in candidates.values() if any(giver not in candidates for giver in each.givers)]
        if not lost:
            return
        for each in lost:
            giver = next(giver for giver in each.givers if giver not in candidates)
            text = f"it names an id from the answer of {recordings.describe(giver)}, which is not asked again"
            aside.append(SetAside(each.played, each.recorded, text, is_skipped=False))
            del candidates[each.place]


def _choose(candidates: Mapping[Place, PlannedQuestion], sample: Sample) -> set[Place]:
    """Choose the oldest recordings, each with the recordings that it continues."""
    oldest = sorted(
        candidates.values(), key=lambda each: (each.recorded.recorded, str(each.played.path), each.place[1])
    )
    chosen: set[Place] = set()
    size = sample.size_of(len(oldest))
    for each in oldest:
        if len(chosen) >= size:
            break
        waiting = [each.place]
        while waiting:
            place = waiting.pop()
            if place not in chosen:
                chosen.add(place)
                waiting += candidates[place].givers
    return chosen


def _conversations_of(questions: Sequence[PlannedQuestion]) -> list[list[PlannedQuestion]]:
    """Group questions that are connected by ids into conversations, each in its order."""
    numbers = {each.place: number for number, each in enumerate(questions)}
    links = [[numbers[place] for place in (each.place, *each.givers)] for each in questions]
    groups: dict[int, list[PlannedQuestion]] = {}
    for first, each in zip(group_linked(len(questions), links), questions, strict=True):
        groups.setdefault(first, []).append(each)
    return [_in_order(group) for group in groups.values()]


def _in_order(group: Sequence[PlannedQuestion]) -> list[PlannedQuestion]:
    """Sort a conversation so that each question comes after those whose ids it names."""
    by_place = {each.place: each for each in group}
    ordered: dict[Place, PlannedQuestion] = {}
    waiting = [each.place for each in reversed(group)]
    seen: set[Place] = set()
    while waiting:
        place = waiting[-1]
        before = [giver for giver in by_place[place].givers if giver not in ordered and giver not in seen]
        seen.add(place)
        if before:
            waiting += before
        else:
            ordered.setdefault(waiting.pop(), by_place[place])
    return list(ordered.values())
