"""Runs to render: one as people have them, with something of everything, and one that is as long as may be."""

import base64
import struct
import zlib

from aquila.run_report.schema import SCHEMA_VERSION
from aquila.run_report.totals import sum_up

SYSTEM = "You summarize notes of meetings. Answer with JSON that has the keys title, summary and actions."
NOTES = """Summarize these notes in one sentence.

Ada: the importer fails on files larger than 2 GB.
Grace: we read them into memory at once.
Ada: let us read them in pieces of 8 MB, and measure.
Grace: I will write the test first, until Thursday."""
ANSWER = (
    '{"title": "Large files", "summary": "The importer will read files in pieces of 8 MB.",'
    ' "actions": ["Grace writes a test until Thursday"]}'
)


def keep(bodies, text):
    """Return a text as it stands in a report: in place, or as a reference."""
    if len(text) <= 200:
        return text
    key = f"t{len(bodies)}"
    bodies[key] = {"text": text}
    return {"key": key, "size": len(text.encode("utf-8", "replace"))}


def keep_bytes(bodies, content, media_type):
    key = f"b{len(bodies)}"
    bodies[key] = {"base64": base64.b64encode(content).decode(), "media_type": media_type}
    return {"key": key, "size": len(content)}


def make_exchange(number=1, **changes):
    exchange = {
        "id": f"e{number}",
        "kind": "http",
        "states": ["replayed"],
        "source": "replayed",
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "status": 200,
        "end": "complete",
        "model": "gpt-5-mini",
        "form": "chat_completions",
        "messages": [{"role": "user", "text": "Hello"}],
        "answer": [{"role": "assistant", "text": "Good morning."}],
        "usage": {"input_tokens": 12, "output_tokens": 4, "total_tokens": 16, "cost": 0.00012, "currency": "USD"},
        "timing": {"asked": 3, "first_byte": 180, "first_token": 210, "ended": 640, "took": 2},
        "cassette": "cassettes/test_notes.yaml",
        "number": number,
        "line": 4,
        "recorded": "2026-09-03T10:21:44Z",
        "request_headers": [["content-type", "application/json"], ["authorization", "[redacted]"]],
        "request_body": '{"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}]}',
        "response_headers": [["content-type", "application/json"], ["x-request-id", "req_8f1"]],
        "response_body": '{"id": "chatcmpl-1", "choices": [{"message": {"content": "Good morning."}}]}',
        **changes,
    }
    return {key: value for key, value in exchange.items() if value is not None}


def make_test(name, exchanges=(), **changes):
    file = changes.get("file", "tests/test_notes.py")
    test = {
        "id": f"{file}::{name}",
        "file": file,
        "line": 12,
        "outcome": "passed",
        "attempt": 1,
        "took": 41,
        "states": list(dict.fromkeys(state for exchange in exchanges for state in exchange["states"])),
        "exchanges": list(exchanges),
        "cassettes": ["cassettes/test_notes.yaml"] if exchanges else [],
        "command": f"pytest '{file}::{name}' --aquila-record",
        **changes,
    }
    return {key: value for key, value in test.items() if value is not None}


def make_report(tests, bodies=None, **changes):
    counts = {"pending": len(changes.get("pending", ())), "orphans": len(changes.get("orphans", ()))}
    return {
        "schema": SCHEMA_VERSION,
        "aquila": "0.1.0",
        "python": "3.13.5",
        "pytest": "9.0.1",
        "platform": "Linux x86_64",
        "root": "meeting-notes",
        "command": "pytest --aquila-report=run.html",
        "started": "2026-11-27T09:14:03Z",
        "took": 8420,
        "mode": "replay",
        "totals": {
            **sum_up(tests, **counts),
            "cost": {"USD": 0.0031},
            "cost_saved": {"USD": 1.2087, "EUR": 0.21},
        },
        "tests": list(tests),
        "pending": [],
        "orphans": [],
        "notes": [],
        "bodies": bodies or {},
        **changes,
    }


def make_png(width=240, height=150):
    """A picture of hills, as PNG."""
    rows = []
    for y in range(height):
        row = bytearray([0])
        for x in range(width):
            hill = height * 0.55 + 22 * ((x / 40 % 2) - 1) ** 2 - x / 9
            row += bytes((96, 140 + y // 4, 110)) if y > hill else bytes((150 + y // 2, 190 + y // 4, 235))
        rows.append(bytes(row))

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def stream_of(words):
    events = [f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{word} "}}}}]}}' for word in words]
    return "\n\n".join([*events, "data: [DONE]", ""])


def _missed(bodies, number, topic):
    was = f"{SYSTEM}\n\n{NOTES.replace('importer', topic)}"
    now = was.replace("in one sentence", "in two short sentences").replace("keys title, summary", "keys title, tags")
    return make_exchange(
        number,
        states=["missed"],
        source="none",
        status=None,
        end=None,
        usage=None,
        answer=None,
        recorded=None,
        response_headers=None,
        response_body=None,
        timing={"asked": 4, "took": 1},
        messages=[
            {"role": "system", "text": SYSTEM.replace("keys title, summary", "keys title, tags")},
            {"role": "user", "text": keep(bodies, now.partition("\n\n")[2])},
        ],
        problem=(
            "No recording answers this request: POST api.openai.com/v1/chat/completions\n"
            "  cassettes/test_notes.yaml has 3 recordings; number 1 is the nearest.\n\n"
            "Record it with: pytest tests/test_notes.py --aquila-record"
        ),
        drift={
            "cassette": "cassettes/test_notes.yaml",
            "number": number,
            "group": "g1",
            "changes": [
                {
                    "path": "$.messages[0].content",
                    "was": SYSTEM,
                    "now": SYSTEM.replace("title, summary", "title, tags"),
                },
                {"path": "$.temperature", "was": "0.2", "now": "0"},
                {"path": "$.seed", "now": "7"},
            ],
            "prompt_was": keep(bodies, was),
            "prompt_now": keep(bodies, now),
            "answer_was": ANSWER,
        },
    )


def _tools(bodies):
    call = {"name": "find_people", "id": "call_1", "arguments": '{"team": "importer", "active": true}'}
    asked = [
        {"role": "system", "text": "You plan meetings."},
        {"role": "user", "text": "Who should come to the meeting about large files?"},
    ]
    first = make_exchange(
        1,
        streamed=True,
        tools=["find_people"],
        parameters={"temperature": 0.2, "tool_choice": "auto"},
        messages=asked,
        answer=[
            {
                "role": "assistant",
                "reasoning": "The team of the importer should be asked first.",
                "tool_calls": [{**call, "result": '["Ada", "Grace"]'}],
            }
        ],
        timing={
            "asked": 3, "first_byte": 240, "first_token": 420, "ended": 1180, "took": 4,
            "chunks": [420, 455, 480, 530, 555, 910, 935, 960, 1010, 1080, 1120, 1180],
        },
        usage={"input_tokens": 118, "output_tokens": 31, "cached_tokens": 64, "cost": 0.0004, "currency": "USD"},
        response_body=keep(bodies, stream_of([f"word{at}" for at in range(12)])),
    )  # fmt: skip
    second = make_exchange(
        2,
        messages=[
            *asked,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "text": '["Ada", "Grace"]'},
        ],
        answer=[{"role": "assistant", "text": "Invite Ada and Grace: both work on the importer."}],
        timing={
            "asked": 9, "first_byte": 160, "first_token": 190, "ended": 820, "took": 2,
            "chunks": [190 + 30 * at for at in range(22)],
        },
        streamed=True,
        line=61,
        usage={"input_tokens": 171, "output_tokens": 14, "cost": 0.0003, "currency": "USD"},
    )  # fmt: skip
    return [first, second]


def _retried(bodies):
    refused = make_exchange(
        1, status=429, faults=["rate_limit(after=0)"], states=["replayed", "faulted"], answer=None, usage=None,
        error="429 Too Many Requests", timing={"asked": 5, "first_byte": 90, "ended": 95, "took": 1},
        response_body='{"error": {"message": "Rate limit reached", "type": "rate_limit_error"}}',
    )  # fmt: skip
    again = make_exchange(2, attempt=2, timing={"asked": 1010, "first_byte": 300, "ended": 900, "took": 3})
    beside = make_exchange(
        3, host="api.anthropic.com", path="/v1/messages", model="claude-haiku-4-5",
        timing={"asked": 20, "first_byte": 500, "ended": 1900, "took": 4},
        usage={"input_tokens": 950, "output_tokens": 210, "cost": 0.002, "currency": "USD"},
    )  # fmt: skip
    return [refused, again, beside]


def _socket(bodies):
    frames = [
        {"direction": "received", "kind": "text", "at": 40, "body": '{"type": "session.created", "session": {}}'},
        {"direction": "sent", "kind": "text", "at": 41, "body": '{"type": "response.create"}'},
        *(
            {
                "direction": "received", "kind": "text", "at": 300 + 45 * at,
                "body": f'{{"type": "response.output_text.delta", "delta": "{word} "}}',
            }
            for at, word in enumerate(["Let", "us", "read", "them", "in", "pieces"])
        ),
        {"direction": "sent", "kind": "binary", "at": 700, "body": keep_bytes(bodies, bytes(4000), "audio/pcm")},
    ]  # fmt: skip
    return make_exchange(
        1, kind="websocket", method="GET", path="/v1/realtime", model="gpt-realtime", frames=frames, status=101,
        messages=[{"role": "user", "parts": [{"kind": "audio", "media_type": "audio/pcm;rate=16000",
                                              "body": keep_bytes(bodies, bytes(32000), "audio/pcm")}]}],
        answer=[{"role": "assistant", "text": "Let us read them in pieces"}],
        timing={"asked": 2, "first_byte": 40, "first_token": 300, "ended": 760, "took": 5},
        request_body=None, response_body=None,
    )  # fmt: skip


def make_sample_run():
    """A run with something of everything."""
    bodies = {}
    image = {"kind": "image", "name": "whiteboard.png", "media_type": "image/png"}
    seen = make_exchange(
        1,
        model="gpt-5",
        messages=[
            {
                "role": "user",
                "text": "What is on the whiteboard?",
                "parts": [{**image, "body": keep_bytes(bodies, make_png(), "image/png")}],
            }
        ],
        answer=[{"role": "assistant", "text": "Green hills below a **blue** sky.\n\n- no text\n- no people"}],
        recorded="2025-12-02T08:00:00Z",
    )
    summary = make_exchange(
        1,
        messages=[{"role": "system", "text": SYSTEM}, {"role": "user", "text": keep(bodies, NOTES)}],
        answer=[{"role": "assistant", "text": keep(bodies, ANSWER + " " * 60)}],
        usage={"input_tokens": 160, "output_tokens": 52, "cost": 0.0006, "currency": "USD"},
    )
    failure = (
        "def test_actions_have_owners(summarize):\n        result = summarize(NOTES)\n"
        '>       assert result["tags"] == ["importer"]\nE       aquila.errors.CassetteMiss: no recording answers'
    )
    job = {
        "id": "4f0c1d7e", "name": "summarize_later", "queue": "notes", "arguments": '{"note": 7}',
        "attempts": [
            {"number": 1, "at": 8, "took": 120, "outcome": "failed", "error": "idle " * 60, "delay": 0.5},
            {"number": 2, "at": 640, "took": 310, "outcome": "done"},
        ],
    }  # fmt: skip
    live = make_exchange(1, states=["live"], source="live", cassette=None, line=None, recorded=None)
    tests = [
        make_test("test_summary_is_short", [summary], took=118),
        make_test("test_actions_have_owners", [_missed(bodies, 1, "importer")], outcome="failed", failure=failure),
        make_test("test_tags_are_known", [_missed(bodies, 2, "exporter")], outcome="failed", failure=failure),
        make_test("test_title_is_kept[long]", [_missed(bodies, 3, "parser")], outcome="failed", failure=failure),
        make_test("test_finds_people", _tools(bodies), took=260, file="tests/test_planning.py"),
        make_test("test_comes_again_when_busy", _retried(bodies), took=2960, file="tests/test_planning.py"),
        make_test("test_reads_a_whiteboard", [seen], took=88, file="tests/test_images.py"),
        make_test("test_listens", [_socket(bodies)], took=790, file="tests/test_voice.py"),
        make_test("test_in_the_background", [summary], took=980, file="tests/test_jobs.py", jobs=[job]),
        make_test("test_is_polite", [live], took=1220, outcome="rerun", file="tests/test_flaky.py", failure="E  rude"),
        make_test("test_is_polite", [live], took=1340, attempt=2, file="tests/test_flaky.py"),
        make_test(
            "test_scripted_refusal",
            [make_exchange(1, states=["scripted"], source="scripted", script="refusals.yaml", cassette=None)],
            cassettes=[],
        ),
        make_test("test_needs_no_model", took=1),
        make_test("test_on_windows", outcome="skipped", took=0),
        make_test(
            "test_new_greeting",
            [make_exchange(1, states=["recorded", "pending"], source="recorded")],
            unplayed=["cassettes/test_notes.yaml number 4"],
        ),
    ]
    return make_report(
        tests,
        bodies,
        pending=["cassettes/test_notes.pending.yaml"],
        orphans=["cassettes/test_old_names.yaml"],
        notes=["2 clients asked without a base address: their requests went to api.openai.com"],
    )


def make_long_run(tests=2000, size=20_000_000):
    """A run with so many tests, and so many bytes of streams."""
    bodies = {}
    words = [f"word{number}" for number in range(97)]
    each = size // tests
    made = []
    for number in range(tests):
        text = f"unique-{number} " + " ".join(words[(number + at) % 97] for at in range(each // 14))
        stream = stream_of(text.split()[: each // 70])
        exchange = make_exchange(
            1,
            messages=[{"role": "user", "text": keep(bodies, text[: each // 8])}],
            answer=[{"role": "assistant", "text": keep(bodies, text[: each // 8])}],
            request_body=keep(bodies, text[: each // 4]),
            response_body=keep(bodies, stream),
        )
        file = f"tests/test_part_{number // 40}.py"
        made.append(make_test(f"test_number[{number}]", [exchange], file=file, took=number % 700))
    return make_report(made, bodies)
