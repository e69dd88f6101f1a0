"""The data of a report: what ``--aquila-report=run.json`` writes, and what the page renders.

Texts are redacted before they come here. Times are milliseconds, moments ISO 8601 in UTC. Every text longer than
``LONGEST_IN_PLACE`` characters and every body that is no text stands once in ``bodies``, under a key that is shared by
all that say the same.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

SCHEMA_VERSION = 1
"""Goes up when a reader of the version before would misread a report. New keys are no such change."""

LONGEST_IN_PLACE = 200
"""A text up to so many characters stands where it belongs, a longer one in ``bodies``."""

State: TypeAlias = Literal[
    "replayed", "recorded", "scripted", "faulted", "live", "missed", "refused", "pending", "unplayed"
]
"""What came of a request, or of a recording: ``unplayed`` is a recording that the test did not play (orphaned)."""

Source: TypeAlias = Literal["replayed", "recorded", "scripted", "live", "none"]
"""Where an answer came from; ``none`` for a request that was missed or refused."""

Outcome: TypeAlias = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed", "rerun", "interrupted"]
"""What pytest says of a test: ``error`` is a failure of its set-up or teardown."""


class BodyReference(TypedDict):
    """A text or body that stands in ``RunReport.bodies``, under ``key``. ``size`` is its bytes."""

    key: str
    size: int


Text: TypeAlias = str | BodyReference
"""A short text, or where a long one stands."""


class Body(TypedDict):
    """A body: as ``text``, or as ``base64``. ``cut`` is how many bytes of it were left out for its size.

    They were left out behind ``text`` or ``base64``. Of a long text the last bytes follow, as ``end``.
    """

    text: NotRequired[str]
    end: NotRequired[str]
    base64: NotRequired[str]
    media_type: NotRequired[str]
    cut: NotRequired[int]


class Part(TypedDict):
    """What a message holds beside its text: an image, a sound, a file. Without ``body`` only a link is known."""

    kind: Literal["image", "audio", "file", "other"]
    name: NotRequired[str]
    media_type: NotRequired[str]
    body: NotRequired[BodyReference]
    url: NotRequired[str]


class ToolCall(TypedDict):
    """A call of a tool that a model wants. ``result`` is what the next request gave for it, if one is in the test."""

    name: str
    id: NotRequired[str]
    arguments: Text
    result: NotRequired[Text]


class Message(TypedDict):
    """One message of a conversation. ``reasoning`` is what the model said that it thought."""

    role: str
    text: NotRequired[Text]
    reasoning: NotRequired[Text]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    parts: NotRequired[list[Part]]


class Frame(TypedDict):
    """A message over a WebSocket. ``direction`` is ``sent`` by the client, or ``received``."""

    direction: Literal["sent", "received"]
    kind: Literal["text", "binary"]
    at: int
    body: Text


class Usage(TypedDict):
    """Tokens that an answer reports, and what they cost by the table of prices."""

    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    total_tokens: NotRequired[int]
    cost: NotRequired[float]
    currency: NotRequired[str]


class Timing(TypedDict):
    """When things happened, in milliseconds: ``asked`` since the test began, all others since the request was sent.

    ``chunks`` are the arrivals of the pieces of the body, at most 1,000 of them, evenly chosen. In a replay they are
    those of the recording, and ``took`` is what the test waited for.
    """

    asked: int
    first_byte: NotRequired[int]
    first_token: NotRequired[int]
    ended: NotRequired[int]
    took: NotRequired[int]
    chunks: NotRequired[list[int]]


class Change(TypedDict):
    """A field in which a request differs from the nearest recording. ``was`` or ``now`` is missing if there is none."""

    path: str
    was: NotRequired[Text]
    now: NotRequired[Text]


class Drift(TypedDict):
    """How a request differs from the nearest recording: ``number`` from 1 in ``cassette``.

    ``group`` is the same for requests that changed in the same way.
    """

    cassette: str
    number: int
    group: str
    changes: list[Change]
    prompt_was: NotRequired[Text]
    prompt_now: NotRequired[Text]
    answer_was: NotRequired[Text]
    answer_now: NotRequired[Text]


class Exchange(TypedDict):
    """One request and what answered it; or a whole conversation over a WebSocket (``kind``).

    ``messages`` is the conversation as the request tells it, ``answer`` what came back. ``problem`` is the text of a
    miss or a refusal. ``cassette`` is the file of the recording, ``number`` its place there from 1, and ``line``
    where it begins. ``attempt`` counts the requests that say the same, where one follows another that failed.
    ``answer_left_out`` is how many bytes in the middle of a large answer were not read: ``answer`` lacks what they say.
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
    """One attempt of a test. ``id`` is how to type it; ``attempt`` counts from 1 where a test ran again.

    ``identity`` is there where ``id`` is not enough to tell a test from all others: of two tests whose ids are the same
    without a secret, and of one that several workers ran with ``--dist each``.
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


class HostTotals(TypedDict):
    """The requests to one host for one model, with the cost of all of them, whoever paid, by currency."""

    host: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: dict[str, float]


class Totals(TypedDict):
    """Sums over the last attempt of each test.

    ``replayed`` to ``refused`` count requests, ``pending`` the files that wait for a review, and ``orphaned`` the
    cassettes that no test used. ``saved`` is the milliseconds that replayed answers took when they were recorded.
    ``cost`` is what was asked of a provider now, and ``cost_saved`` what replayed answers have cost when they were
    recorded, both by currency. Answers that were faults count as requests, and not with their tokens.
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
    """A whole run. ``root`` is what paths are relative to, as a name and not as a path of the machine.

    ``interrupted`` says why the run did not come to its end. ``orphans`` are cassettes that no test of a whole run
    used, ``pending`` the files that wait for a review.
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
