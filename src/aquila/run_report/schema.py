"""The data of a report, which ``--aquila-report=run.json`` writes and the page renders.

Texts are already redacted. Durations are in milliseconds, points in time in ISO 8601 and UTC. Each text longer than
``LONGEST_IN_PLACE`` characters, and each body that is not text, stands once in ``bodies``, under a key that all its
uses share.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

SCHEMA_VERSION = 1
"""Increased when a reader of the earlier version would misread a report. New keys do not increase it."""

LONGEST_IN_PLACE = 200
"""A text of at most so many characters stands in its place, a longer one in ``bodies``."""

State: TypeAlias = Literal[
    "replayed", "recorded", "scripted", "faulted", "live", "missed", "refused", "pending", "unplayed"
]
"""The result of a request; ``unplayed`` is the state of a recording that the test did not play (orphaned)."""

Source: TypeAlias = Literal["replayed", "recorded", "scripted", "live", "none"]
"""Where an answer came from; ``none`` for a request that missed or was refused."""

Outcome: TypeAlias = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed", "rerun", "interrupted"]
"""The outcome of a test in pytest; ``error`` is a failure of its set-up or teardown."""


class BodyReference(TypedDict):
    """A text or body that stands in ``RunReport.bodies`` under ``key``. ``size`` is its size in bytes."""

    key: str
    size: int


Text: TypeAlias = str | BodyReference
"""A short text, or a reference to a long one."""


class Body(TypedDict):
    """A body, as ``text`` or as ``base64``. ``cut`` is the number of bytes that were left out because it is large.

    They are missing behind ``text`` or ``base64``. The last bytes of a long text follow as ``end``.
    """

    text: NotRequired[str]
    end: NotRequired[str]
    base64: NotRequired[str]
    media_type: NotRequired[str]
    cut: NotRequired[int]


class Part(TypedDict):
    """An image, sound or file in a message. Without ``body`` only its ``url`` is known."""

    kind: Literal["image", "audio", "file", "other"]
    name: NotRequired[str]
    media_type: NotRequired[str]
    body: NotRequired[BodyReference]
    url: NotRequired[str]


class ToolCall(TypedDict):
    """A tool call by a model. ``result`` is the result that a later request of the test sent for it."""

    name: str
    id: NotRequired[str]
    arguments: Text
    result: NotRequired[Text]


class Message(TypedDict):
    """One message of a conversation. ``reasoning`` is the reasoning that the model reported."""

    role: str
    text: NotRequired[Text]
    reasoning: NotRequired[Text]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    parts: NotRequired[list[Part]]


class Frame(TypedDict):
    """A message over a WebSocket: ``sent`` or ``received`` by the client. ``at``: milliseconds since the handshake."""

    direction: Literal["sent", "received"]
    kind: Literal["text", "binary"]
    at: int
    body: Text


class Usage(TypedDict):
    """The tokens that an answer reports, and their cost by the table of prices."""

    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    total_tokens: NotRequired[int]
    cost: NotRequired[float]
    currency: NotRequired[str]


class Timing(TypedDict):
    """Times in milliseconds: ``asked`` since the test began, all others since the request was sent.

    ``chunks`` are the arrival times of the body's chunks, at most 1,000 of them, evenly chosen. In a replay they are
    those of the recording, and ``took`` is how long the test waited.
    """

    asked: int
    first_byte: NotRequired[int]
    first_token: NotRequired[int]
    ended: NotRequired[int]
    took: NotRequired[int]
    chunks: NotRequired[list[int]]


class Change(TypedDict):
    """A field in which a request differs from the nearest recording. ``was`` or ``now`` is missing if the field is."""

    path: str
    was: NotRequired[Text]
    now: NotRequired[Text]


class Drift(TypedDict):
    """The differences between a request and the nearest recording: ``number``, from 1, in ``cassette``.

    ``group`` is equal for requests that changed in the same way.
    """

    cassette: str
    number: int
    group: str
    changes: list[Change]
    prompt_was: NotRequired[Text]
    prompt_now: NotRequired[Text]
    answer_was: NotRequired[Text]


class Exchange(TypedDict):
    """One request and its answer, or a whole conversation over a WebSocket (``kind``).

    ``messages`` is the conversation in the request, ``answer`` the messages of the answer. ``problem`` is the text of a
    miss or a refusal. ``cassette`` is the file of the recording, ``number`` its number there, from 1, and ``line`` the
    line at which it begins. ``attempt`` counts equal requests that follow a failed one. ``answer_left_out`` is the
    number of bytes in the middle of a large answer that were not read, so ``answer`` lacks them.
    """

    id: str
    kind: Literal["http", "websocket"]
    states: list[State]
    source: Source
    method: str
    host: str
    path: str
    status: NotRequired[int]
    end: NotRequired[Literal["complete", "closed", "broken", "silent", "open"]]
    error: NotRequired[str]
    model: NotRequired[str]
    answered_by: NotRequired[str]
    form: NotRequired[str]
    streamed: NotRequired[bool]
    parameters: NotRequired[dict[str, Any]]
    messages: list[Message]
    tools: NotRequired[list[str]]
    answer: NotRequired[list[Message]]
    answer_left_out: NotRequired[int]
    usage: NotRequired[Usage]
    timing: Timing
    attempt: NotRequired[int]
    cassette: NotRequired[str]
    number: NotRequired[int]
    line: NotRequired[int]
    recorded: NotRequired[str]
    faults: NotRequired[list[str]]
    script: NotRequired[str]
    job: NotRequired[str]
    request_headers: list[tuple[str, str]]
    request_body: NotRequired[Text]
    response_headers: NotRequired[list[tuple[str, str]]]
    response_body: NotRequired[Text]
    frames: NotRequired[list[Frame]]
    frames_left_out: NotRequired[int]
    problem: NotRequired[str]
    drift: NotRequired[Drift]


class JobAttempt(TypedDict):
    """One execution of a job. ``at`` is milliseconds since the test began."""

    number: int
    at: int
    took: NotRequired[int]
    outcome: str
    error: NotRequired[str]
    delay: NotRequired[float]


class Job(TypedDict):
    """A background job that ran in a test, with its attempts."""

    id: str
    name: str
    queue: NotRequired[str]
    arguments: NotRequired[Text]
    attempts: list[JobAttempt]


class Test(TypedDict):
    """One attempt of a test. ``id`` is its pytest id; ``attempt`` counts the attempts of a test from 1.

    ``identity`` is present if ``id`` does not tell the test from all others: for tests whose ids become equal without a
    secret, and for a test that several workers ran with ``--dist each``.
    """

    id: str
    identity: NotRequired[str]
    file: str
    line: NotRequired[int]
    outcome: Outcome
    attempt: int
    took: int
    worker: NotRequired[str]
    states: list[State]
    exchanges: list[Exchange]
    jobs: NotRequired[list[Job]]
    cassettes: list[str]
    unplayed: NotRequired[list[str]]
    failure: NotRequired[Text]
    command: str


Test.__test__ = False  # type: ignore[attr-defined]  # otherwise pytest warns of it in a test module that imports it


class HostTotals(TypedDict):
    """The requests to one host for one model. ``cost`` is by currency, including answers that were replayed.

    ``time`` is the sum of the times that the answers took when they were recorded, in milliseconds.
    """

    host: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: dict[str, float]
    time: int


class Totals(TypedDict):
    """Sums over the last attempt of each test.

    ``replayed`` to ``refused`` count requests, ``pending`` counts files that wait for a review, and ``orphaned``
    cassettes that no test used. ``saved`` is the time, in milliseconds, that replayed answers took when they were
    recorded. ``cost`` is the cost of requests to providers in this run, ``cost_saved`` that of replayed answers when
    they were recorded, both by currency; a recording that answers several requests of a test counts once in what is
    saved. Faulted answers count as requests, but their tokens do not count.
    """

    tests: int
    replayed: int
    recorded: int
    scripted: int
    live: int
    missed: int
    refused: int
    pending: int
    orphaned: int
    requests: int
    input_tokens: int
    output_tokens: int
    saved: int
    cost: dict[str, float]
    cost_saved: dict[str, float]
    hosts: list[HostTotals]


class RunReport(TypedDict):
    """A whole run. ``root`` is the name of the folder to which paths are relative, without its path.

    ``interrupted`` says why the run did not complete. ``orphans`` are cassettes that no test of a whole run
    used, ``pending`` are files that wait for a review.
    """

    schema: int
    aquila: str
    python: str
    pytest: str
    platform: str
    root: str
    command: str
    started: str
    took: int
    mode: str
    interrupted: NotRequired[str]
    totals: Totals
    tests: list[Test]
    pending: list[str]
    orphans: list[str]
    prices: NotRequired[list[dict[str, Any]]]
    notes: list[str]
    bodies: dict[str, Body]
