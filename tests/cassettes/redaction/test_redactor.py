"""What is kept, what is replaced, what is left alone, and what is reported."""

import base64
import hashlib
import json
import random
import re
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from aquila.cassettes.body_file import BodyFile, StoredRequest
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.found_secrets import SecretNumbers
from aquila.cassettes.redaction.redactor import Redactor, SecretFinding
from aquila.cassettes.redaction.request_headers import REQUEST_HEADERS
from aquila.cassettes.redaction.response_headers import differs_each_time
from aquila.errors import ConfigError
from aquila.recording.environment import DUMMY_KEY
from tests.support.threads import run_at_once

KEY = "sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"
PLAIN = "Zq81-not-shaped-like-a-key-4711"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq+abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ\n"
    "q8Zk/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX=\n-----END RSA PRIVATE KEY-----"
)


def post(
    body: bytes | str = b"", *headers: tuple[str, str], url: str = "https://api.openai.com/v1/x"
) -> RecordedRequest:
    return RecordedRequest("POST", url, headers, body.encode() if isinstance(body, str) else body)


def answer(*pieces: bytes, **fields: object) -> RecordedResponse:
    return RecordedResponse(200, (), tuple(RecordedChunk(piece, at) for at, piece in enumerate(pieces)), **fields)  # type: ignore[arg-type]


# --- what filters of the program have changed


def test_a_filtered_request_loses_only_what_the_filter_has_removed_elsewhere() -> None:
    redactor = Redactor()
    sent = post(f"{KEY} and more", ("authorization", f"Bearer {PLAIN}"), ("content-type", "text/plain"))
    credentials = redactor.learn_credentials(sent)
    filtered = post(sent.body, ("content-type", "text/plain"))
    assert redactor.redact_filtered(filtered, credentials) is filtered
    repeating = redactor.redact_filtered(post(f"{PLAIN} and more"), credentials)
    assert repeating.body == b"[redacted] and more"


# --- headers


def test_of_a_request_only_the_headers_that_the_page_names_are_stored() -> None:
    page = (Path(__file__).parents[3] / "docs" / "redaction.md").read_text(encoding="utf-8")
    told = re.findall("`([^`]+)`", page.partition("## Headers\n\n")[2].partition("\n\n")[0])
    assert set(told) == REQUEST_HEADERS, "the first sentence on headers in docs/redaction.md"
    others = (("authorization", f"Bearer {PLAIN}"), ("cookie", "a=b"), ("content-length", "3"), ("user-agent", "x"))
    stored = tuple((name, "a value") for name in told)
    assert Redactor().redact_request(post("", *others, *stored)).headers == stored


def stored_fields(*headers: tuple[str, str], keep: Sequence[str] = ()) -> list[str]:
    redactor = Redactor(response_headers=keep)
    clean = redactor.redact_response(RecordedResponse(200, headers, (RecordedChunk(b"body"),)))
    assert redactor.redact_response(clean) is clean
    return [name for name, _ in clean.headers]


@pytest.mark.parametrize(
    "name",
    [
        *("set-cookie", "x-api-key", "authentication-info", "x-amz-security-token", "x-csrf-token"),
        *("sessionid", "x-sessionid", "jsessionid", "x-authtoken"),
        *("openai-organization", "openai-project", "anthropic-organization-id", "x-ms-account-id", "x-forwarded-for"),
        *("cf-connecting-ip", "x-client-ip", "x-real-ip", "cf-ipcountry", "x-tenant-id", "x-oauth-scopes", "cf-ray"),
        *("connection", "keep-alive", "te", "transfer-encoding", "content-length", "server", "via", "alt-svc"),
        *("cf-cache-status", "x-envoy-attempt-count", "x-powered-by", "trailer", "proxy-authenticate", "x-amz-cf-pop"),
        *("strict-transport-security", "access-control-allow-origin", "content-security-policy", "nel", "report-to"),
    ],
)
def test_header_fields_about_credentials_accounts_connections_and_browsers_are_left_out_of_answers(name: str) -> None:
    assert stored_fields(("x-other", "1"), (name, "some value")) == ["x-other"]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "x-goog-upload-url",
            "etag",
            "www-authenticate",
            "location",
            "link",
            "mcp-session-id",
            "allow",
            "cache-control",
        ),
        *("x-amzn-bedrock-input-token-count", "x-ratelimit-remaining-tokens", "x-linked-size", "date", "retry-after"),
        *("x-anything-at-all", "content-encoding", "x-ms-client-request-id", "inference-id", "content-location"),
    ],
)
def test_every_other_field_of_an_answer_is_stored(name: str) -> None:
    assert stored_fields((name, "12"), ("Server", "x")) == [name]


def test_fields_that_differ_each_time_stand_last() -> None:
    ids = ("x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "x-amz-id-2")
    times = ("date", "age", "openai-processing-ms", "x-compute-time", "x-envoy-upstream-service-time")
    limits = ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-requests-reset", "ratelimit")
    stable = ("content-type", "etag", "last-modified", "x-goog-upload-url", "retry-after", "location")
    assert all(map(differs_each_time, (*ids, *times, *limits)))
    assert not any(map(differs_each_time, stable))
    assert stored_fields(("date", "x"), ("etag", "1"), ("x-request-id", "x"), ("link", "1")) == [
        *("etag", "link"),
        *("date", "x-request-id"),
    ]


def test_the_length_is_stored_where_an_answer_has_no_body() -> None:
    redactor = Redactor()
    response = RecordedResponse(200, (("content-length", "7"),))
    assert redactor.redact_response(response).headers == response.headers
    request = RecordedRequest("GET", "https://x.example/")
    assert redactor.redact_recorded(request, response, SecretNumbers(), body_elsewhere=True)[1].headers == ()


def test_settings_bring_back_all_but_credentials() -> None:
    assert stored_fields(("server", "x"), ("cf-ray", "1"), ("x-api-key", "k"), keep=["server", "cf-*", "x-*"]) == [
        *("server", "cf-ray")
    ]


def test_headers_can_be_added_but_never_credentials() -> None:
    redactor = Redactor(request_headers=["X-Trace"], response_headers=["x-ratelimit-*"])
    request = redactor.redact_request(post("", ("x-trace", f"t {KEY}"), ("x-other", "1")))
    assert request.headers == (("x-trace", "t [redacted]"),)
    response = redactor.redact_response(
        RecordedResponse(200, (("x-ratelimit-remaining-tokens", "9"), ("x-ratelimit-key", "k")))
    )
    assert response.headers == (("x-ratelimit-remaining-tokens", "9"),)
    with pytest.raises(ConfigError, match="'x-api-key' carries credentials"):
        Redactor(request_headers=["x-api-key"])


# --- values


def test_a_numeric_secret_leaves_valid_json() -> None:
    redactor = Redactor.from_environment({"PIN_SECRET": "4711081512345"})
    text = '{"a": 4711081512345, "b": "4711081512345", "c": 14711081512345, "d": [-4711081512345]}'
    assert json.loads(redactor.redact_text(text)) == {"a": 0, "b": "0", "c": 14711081512345, "d": [0]}


def test_a_password_of_letters_is_a_secret_only_where_it_stands_alone() -> None:
    redactor = Redactor.from_environment({"DB_PASS": "qxkwvzjrmtpb"})
    text = "qxkwvzjrmtpb, qxkwvzjrmtpbs and unqxkwvzjrmtpb, \\nqxkwvzjrmtpb"
    assert redactor.redact_text(text) == "[redacted], qxkwvzjrmtpbs and unqxkwvzjrmtpb, \\n[redacted]"


SECRET_WITH_BACKSLASH = "0000012\\"


@pytest.mark.parametrize(
    ("body", "clean"),
    [
        (r'{"a":"\u0030000012\\"}', '{"a":"[redacted]"}'),
        (r'{"a":"\u0030000012\\ß"}', '{"a":"[redacted]ß"}'),
        (r'{"a":"\u0030000012\\","b":"\u0030000012\\ n"}', '{"a":"[redacted]","b":"[redacted] n"}'),
        (r'{"a":"\u0030000012\\","b":"%41"}', '{"a":"[redacted]","b":"%41"}'),
        (r'{"a":"https://x/?q=%30000012%5C"}', '{"a":"https://x/?q=[redacted]"}'),
        (r'{"a":"\\u0030000012\\\\"}', '{"a":"[redacted]"}'),
        (r'{"a":"{\"b\":\"\\u0030000012\\\\\"}"}', r'{"a":"{\"b\":\"[redacted]\"}"}'),
        (r'{"a":"{\"b\":\"\u0030000012\\\\\"}"}', r'{"a":"{\"b\":\"[redacted]\"}"}'),
    ],
)
def test_a_value_that_ends_in_a_backslash_takes_nothing_along(body: str, clean: str) -> None:
    redactor = Redactor({SECRET_WITH_BACKSLASH: "value of KEY"})
    request = RecordedRequest("POST", "https://x.example/", (), body.encode())
    assert json.loads(body)
    assert redactor.redact_request(request).body.decode() == clean


def test_a_secret_that_comes_about_when_another_is_replaced_is_replaced_too() -> None:
    redactor = Redactor({"471108151234": "value of PIN", "pass-0-word-77": "value of KEY"})
    once = redactor.redact_text("it is pass-471108151234-word-77.")
    assert once == redactor.redact_text(once) == "it is [redacted]."


def test_values_are_scrubbed_in_any_spelling() -> None:
    secret = 'p"a\\ss/wörd 42'
    redactor = Redactor.from_environment({"DB_PASSWORD": secret})
    body, clean = secret, "[redacted]"
    for _ in range(3):  # JSON in JSON in JSON
        body, clean = (json.dumps({"a": text}, ensure_ascii=False) for text in (body, clean))
        assert redactor.redact_text(body) == clean
    assert redactor.redact_text("q=p%22a%5Css%2Fw%c3%b6rd+42&x=1") == "q=[redacted]&x=1"


@pytest.mark.parametrize("write", [bytes.hex, lambda raw: raw.hex().upper()], ids=["lower", "upper"])
def test_a_value_in_hexadecimal_is_scrubbed(write: Callable[[bytes], str]) -> None:
    redactor = Redactor.from_environment({"APP_SECRET": PLAIN})
    assert redactor.redact_text(f"dump: {write(PLAIN.encode())}.") == "dump: [redacted]."


def test_a_value_is_found_through_five_layers_of_escapes() -> None:
    redactor = Redactor.from_environment({"APP_SECRET": PLAIN})
    escaped = "".join(f"\\u{ord(char):04x}" for char in PLAIN)  # no encoder writes a key like that
    layers = "https://a.example/?state=" + quote(json.dumps(json.dumps(json.dumps(f'{{"key": "{escaped}"}}'))))
    assert "[redacted]" in redactor.redact_text(layers)


def test_a_value_is_found_in_the_repr_of_bytes_that_has_other_escapes_too() -> None:
    redactor = Redactor.from_environment({"APP_SECRET": "grün-und-größer-4711"})
    assert redactor.redact_text("b'gr&#252;n-und-gr\\xc3\\xb6\\xc3\\x9fer-4711'") == "b'[redacted]'"


@pytest.mark.parametrize("lead", ["", "u", "us", "user:", "someone:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_value_is_scrubbed_whole(lead: str, encode: type) -> None:
    secret = "~~~???>>>" + PLAIN
    text = encode((lead + secret + "!").encode()).decode()
    assert Redactor({secret: "x"}).redact_text(f"data: {text}.") == "data: [redacted]."


def test_a_value_is_found_in_latin_1_also_where_utf_8_was_taken_for_it() -> None:
    secret = "pässwört-4711"
    mistaken = secret.encode().decode("latin-1")
    parts = (secret.encode("latin-1"), mistaken.encode(), json.dumps(mistaken).encode(), quote(mistaken).encode())
    response = RecordedResponse(200, (("x-sent", mistaken),), (RecordedChunk(b" ".join(parts)),))
    clean = Redactor({secret: "x"}).redact_response(response)
    assert clean.headers == (("x-sent", "[redacted]"),)
    assert clean.body == b'[redacted] [redacted] "[redacted]" [redacted]'


def test_the_repr_shows_no_secret() -> None:
    assert PLAIN not in repr(Redactor({PLAIN: "x"}))


# --- shapes


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"Bearer {PLAIN}", "Bearer [redacted]"),
        (f"authorization: bearer {PLAIN}==", "authorization: bearer [redacted]"),
        ("Basic dXNlcjpodW50ZXIy", "Basic [redacted]"),
        ("https://me:hunter2@host/x", "https://[redacted]@host/x"),
        ("postgres://:hunter2@host", "postgres://[redacted]@host"),
        ("see https://x/y?api_key=abc123&z=1", "see https://x/y?api_key=[redacted]&z=1"),
        ("https://x/y?sv=1&sig=aB%2F3d5F7%3D", "https://x/y?sv=1&sig=[redacted]"),
        (f"x\\n{KEY}\\ny", "x\\n[redacted]\\ny"),
        (f"%20{KEY}%20", "%20[redacted]%20"),
        (f"OPENAI_API_KEY={KEY}", "OPENAI_API_KEY=[redacted]"),
        (f"my_{KEY}", "my_[redacted]"),
        (f"{KEY}/{KEY}", "[redacted]/[redacted]"),
        ("Incorrect API key provided: sk-proj-****************wXyZ.", "Incorrect API key provided: [redacted]."),
        (f"before\n{PEM}\nafter", "before\n[redacted]\nafter"),
        (json.dumps({"k": PEM}), '{"k": "[redacted]"}'),
        (json.dumps({"k": json.dumps({"k": PEM})}), '{"k": "{\\"k\\": \\"[redacted]\\"}"}'),
        (json.dumps({"k": PEM[:80]}), '{"k": "[redacted]"}'),
        ('{"x-api-key": "0123456789abcdef"}', '{"x-api-key": "[redacted]"}'),
        ('{"Authorization": "Token abcdefgh12345678"}', '{"Authorization": "[redacted]"}'),
        (
            '{"a": "{\\"access_token\\": \\"ya12.abcdefghij0123456789\\"}"}',
            '{"a": "{\\"access_token\\": \\"[redacted]\\"}"}',
        ),
        (
            "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY/a",
            "aws_secret_access_key = [redacted]",
        ),
        *[
            (text.format("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), text.format("[redacted]"))
            for text in (
                "<SecretAccessKey>{}</SecretAccessKey>",
                '{{"SecretAccessKey" : "{}"}}',
                '{{"roleCredentials":{{"secretAccessKey":"{}"}}}}',
                '{{"Credentials":{{"SecretKey":"{}"}}}}',
            )
        ],
        ('{"access_token": "7|aB3dE5gH7jK9mN1pQ3sTuV"}', '{"access_token": "[redacted]"}'),
        (
            "DefaultEndpointsProtocol=https;AccountKey=" + "aB3/" * 21 + "aB==;x",
            "DefaultEndpointsProtocol=https;AccountKey=[redacted];x",
        ),
        (
            "https://hooks.slack.com/services/T0000/B0000/aBcDeFgH1234aBcDeFgH",
            "https://hooks.slack.com/services/[redacted]",
        ),
    ],
)
def test_known_shapes_are_replaced(text: str, clean: str) -> None:
    redactor = Redactor()
    assert redactor.redact_text(text) == clean
    assert redactor.redact_text(clean) == clean


def random_ids(dice: random.Random) -> list[str]:
    alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

    def some(length: int) -> str:
        return "".join(dice.choices(alnum, k=length))

    raw = dice.randbytes(3000)
    return [
        *(
            f"{p}{some(24)}"
            for p in ("chatcmpl-", "call_", "toolu_", "org-", "proj_", "file-", "asst_", "thread_", "gen-")
        ),
        *(f"{p}{raw[:25].hex()}" for p in ("resp_", "msg_", "rs_", "fc_", "ws_", "req_", "fp_", "vs_", "conv_")),
        str(uuid.UUID(bytes=raw[:16])),
        hashlib.sha256(raw).hexdigest(),
        "sha512-" + base64.b64encode(hashlib.sha512(raw).digest()).decode(),
        base64.b64encode(raw).decode(),
        "gAAAAAB" + base64.urlsafe_b64encode(raw).decode(),
        "data:image/png;base64," + base64.b64encode(raw).decode(),
    ]


def test_ids_hashes_and_images_are_left_alone() -> None:
    redactor = Redactor()
    dice = random.Random(4711)
    for _ in range(150):
        text = json.dumps({"ids": random_ids(dice)})
        assert redactor.redact_text(text) is text


@pytest.mark.parametrize("text", ["a sk-learn-tutorial 0123456789abcdef", '{"a": "x"}', ""])
def test_an_interaction_without_secrets_is_the_same_object(text: str) -> None:
    redactor = Redactor({PLAIN: "x"})
    request = post(text, ("content-type", "application/json"))
    response = answer(text.encode(), b"tail")
    interaction = Interaction(request, response)
    assert redactor.redact_text(text) is text
    assert redactor.redact_request(request) is request
    assert redactor.redact_response(response) is response
    assert redactor.redact_interaction(interaction) is interaction


# --- requests


def test_a_url_stays_a_url() -> None:
    redactor = Redactor({PLAIN: "x"})
    request = post(url=f"https://user:{KEY}@{PLAIN}.example/{PLAIN}?key=AIzaDummyKey&q=a&api_key=x")
    clean = redactor.redact_request(request).url
    assert clean == "https://%5Bredacted%5D.example/%5Bredacted%5D?key=%5Bredacted-2%5D&q=a&api_key=%5Bredacted-3%5D"
    assert redactor.redact_request(post(url=clean)).url is clean


def test_a_form_loses_its_secrets_by_name() -> None:
    body = "grant_type=x&client_secret=s3&password=p&page=2"
    media = ("content-type", "application/x-www-form-urlencoded")
    assert Redactor().redact_request(post(body, media)).body == (
        b"grant_type=x&client_secret=[redacted]&password=[redacted-2]&page=2"
    )
    assert Redactor().redact_request(post("password=p", ("content-type", "text/plain"))).body == b"password=p"


@pytest.mark.parametrize("name", ["api_key", "x-api-key"])
@pytest.mark.parametrize("value", [f"token {PLAIN}", f"a1b2c3d4e5 {PLAIN}"])
def test_of_a_key_with_a_space_in_it_no_part_is_left_in_a_text(name: str, value: str) -> None:
    redactor = Redactor()
    redactor.redact_request(post("", (name, value)))
    assert redactor.redact_text(repr({name: value})) == repr({name: "[redacted]"})
    assert redactor.redact_text(f"the key {PLAIN}") == "the key [redacted]"


def test_the_credentials_of_one_request_do_not_change_another() -> None:
    redactor = Redactor()
    redactor.redact_request(post("", ("authorization", f"Bearer {PLAIN}")))
    other = post(f"see {PLAIN}", ("content-type", "text/plain"))
    assert redactor.redact_request(other) is other


def test_a_dummy_key_is_no_secret() -> None:
    redactor = Redactor()
    redactor.redact_request(post("", ("authorization", f"Bearer {DUMMY_KEY}")))
    assert redactor.redact_text(f"key {DUMMY_KEY}") == f"key {DUMMY_KEY}"


def test_many_threads_may_use_one_redactor() -> None:
    redactor = Redactor()
    keys = [f"Zq{n:04}-not-shaped-{n}" for n in range(16)]
    gate = threading.Barrier(len(keys))
    found: dict[str, bytes] = {}

    def use(key: str) -> None:
        gate.wait()
        found[key] = redactor.redact_request(post(f"a {key} b", ("x-api-key", key))).body

    run_at_once(partial(use, key) for key in keys)
    assert found == dict.fromkeys(keys, b"a [redacted] b")
    assert redactor.redact_text(" ".join(keys)) == " ".join(["[redacted]"] * len(keys))


# --- streams


def test_a_secret_over_chunks_keeps_their_number_and_times() -> None:
    response = answer(b"key: " + KEY[:9].encode(), KEY[9:20].encode(), KEY[20:].encode() + b" end", b"!")
    clean = Redactor().redact_response(response)
    assert clean.body == b"key: [redacted] end!"
    assert [chunk.at for chunk in clean.chunks] == [0, 1, 2, 3]
    assert clean.chunks[-1].data == b"!"
    assert all(chunk.data for chunk in clean.chunks)


def test_a_secret_over_deltas_leaves_a_stream_that_reads_redacted() -> None:
    pieces = ["The key is ", KEY[:6], KEY[6:21], KEY[21:] + ", keep", " it."]
    events = [f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': p}}]})}\n\n" for p in pieces]
    clean = Redactor().redact_response(answer(*(event.encode() for event in events)))
    said = [json.loads(chunk.data[6:])["choices"][0]["delta"]["content"] for chunk in clean.chunks]
    assert said == ["The key is ", "[redacted]", "", ", keep", " it."]


@pytest.mark.parametrize("end", ["broken", "closed", "silent"])
def test_a_stream_that_is_not_complete_loses_the_beginning_of_a_known_key(end: str) -> None:
    events = [f"data: {json.dumps({'delta': text})}\n\n" for text in ("key ", PLAIN[:7], PLAIN[7:20])]
    error = "ReadError: connection lost" if end == "broken" else ""
    response = answer(*(event.encode() for event in events), end=end, error=error)
    clean = Redactor({PLAIN: "x"}).redact_response(response)
    assert [json.loads(chunk.data[6:])["delta"] for chunk in clean.chunks] == ["key ", "[redacted]", ""]
    whole = answer(*(event.encode() for event in events))
    assert Redactor({PLAIN: "x"}).redact_response(whole) is whole


# --- added rules


def test_added_rules_work_beside_the_built_in_ones() -> None:
    redactor = Redactor(
        {}, [r"\b\d{3}-\d{2}-\d{4}\b", re.compile("(?i)ssn: (\\w+)"), lambda text: text.replace("Bob", "X")]
    )
    assert redactor.redact_text(f"{KEY} 078-05-1120 SSN: abc Bob") == "[redacted] [redacted] SSN: [redacted] X"


@pytest.mark.parametrize(
    "pattern", [r"name: (\w+)", r"name: (M.ller)", r"(?i)NAME: (MÜLLER)", re.compile(r"(?<=name: )\w+")]
)
def test_an_added_pattern_is_searched_for_in_text_and_not_in_its_bytes(pattern: str | re.Pattern[str]) -> None:
    redactor = Redactor({}, [pattern])
    assert redactor.redact_text("é name: Müller, ☃ name: Müller!") == "é name: [redacted], ☃ name: [redacted]!"
    assert redactor.redact_text(json.dumps("name: Müller!")) == '"name: [redacted]!"'
    message = b"\xff name: M\xc3\xbcller\xff"
    assert redactor.redact_message(message) == b"\xff name: [redacted]\xff"


@pytest.mark.parametrize("before", ["", "é "])
def test_all_matches_of_an_added_pattern_are_found_whose_groups_overlap(before: str) -> None:
    redactor = Redactor({}, [r"name(?=[^:]*: (\w+))"])
    text = f"{before}name and name: Jürgen, name: Müller!"
    assert redactor.redact_text(text) == f"{before}name and name: [redacted], name: [redacted]!"


def test_added_rules_reach_split_streams() -> None:
    events = [f"data: {json.dumps({'delta': text})}\n\n" for text in ("I am B", "ob, 078-0", "5-1120", " yes Bob")]
    redactor = Redactor({}, [r"\d{3}-\d{2}-\d{4}", lambda text: re.sub(r"\bBob\b", "Eve", text)])
    clean = redactor.redact_response(answer(*(event.encode() for event in events)))
    said = "".join(json.loads(chunk.data[6:])["delta"] for chunk in clean.chunks)
    assert said == "I am Eve, [redacted] yes Eve"
    assert len(clean.chunks) == 4


def test_an_added_rule_may_match_the_placeholder() -> None:
    redactor = Redactor({}, [r"\w{8}", r"name: (.+)"])
    once = redactor.redact_text(f"{KEY} abcdefgh name: Bob")
    assert once == "[redacted] [redacted] name: [redacted]"
    assert redactor.redact_text(once) is once


def test_a_wrong_pattern_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"redact: '\(' is not a regular expression"):
        Redactor({}, ["("])


# --- scan


def test_scan_reports_line_and_kind_and_never_the_value() -> None:
    redactor = Redactor.from_environment({"APP_TOKEN": PLAIN})
    data = f"a: 1\nb: {KEY}\nc: x {PLAIN} {PLAIN}\n\nd: 'Bearer {PLAIN[::-1]}'\n".encode()
    found = redactor.find_secrets(data)
    assert found == [
        SecretFinding(2, "OpenAI key"),
        SecretFinding(3, "value of APP_TOKEN"),
        SecretFinding(5, "bearer token"),
    ]
    assert PLAIN not in repr(found)


_BOT = b"__cf_bm=gln1XI8zJVAJ0K-1754432619-1.0.1.1-Ef07EWA"


@pytest.mark.parametrize(
    ("lines", "is_found"),
    [
        (b"cookie:\n      - " + _BOT, False),
        (b"Cookie: " + _BOT + b"; _cfuvid=Ckz8lfebgV0n8Q-604800000", False),
        (b"cookie:\n      - " + _BOT + b";\n        _cfuvid=Ckz8lfebgV0n8Q-604800000\n      host:", False),
        (b"set-cookie:\n      - '" + _BOT + b"; Path=/; HttpOnly; Secure; Domain=api.example.com;'", False),
        (b"cookie: AWSALB=abcdef1234567890; AWSALBCORS=abcdef1234567890", False),
        (b"cookie:\n      - " + _BOT + b"; session=eyJ1c2VyIjo3fQ", True),
        (b"cookie:\n      - " + _BOT + b";\n        session=eyJ1c2VyIjo3fQ", True),
        (b"set-cookie:\n      - " + _BOT + b"; Path=/\n      - _cfuvid=Ckz8lfebgV0n8Q-604800000; HttpOnly", False),
        (b"set-cookie:\n      - " + _BOT + b"; Path=/\n      - session=eyJ1c2VyIjo3fQ; Path=/", True),
        (b"set-cookie:\n      - " + _BOT + b"; Path=/;\n        HttpOnly\n      - session=eyJ1c2VyIjo3fQ", True),
        (b"set-cookie: " + _BOT + b"; expires=Fri, 29-Nov-24 10:00:00 GMT, _cfuvid=Ckz8lfebgV0n8Q", False),
        (b"set-cookie: " + _BOT + b"; SameSite=None, session=eyJ1c2VyIjo3fQ; Path=/", True),
        (b"cookie: aid=f3044f53-9561-498a-90b3-59b52706d8f8", True),
        (b"authorization: __cf_bm=1234567890", True),
        (b"Cookie:\n      - session=abcdefghij", True),
        (b"authorization:\n      - REDACTED", False),
        (b"authorization: [redacted]", False),
        (b"Authorization: Basic [redacted]", False),
        (b'Authorization: Token token="[redacted]"', False),
        (b"Authorization: AWS4-HMAC-SHA256 Credential=[redacted]/20260101/us-east-1/s3, Signature=[redacted-2]", False),
        (b"Authorization: Bearer <FILTERED>", False),
        (b"Authorization: Bearer sk-xxxxxxxx", False),
        (b"Authorization: Bearer xxxxxxxx1234", False),
        (b"authorization: Custom k7Qpz0mXxX4vT2", True),
        (b"authorization:\n      - Bearer test_openai_api_key", False),
        (b"authorization: 'Bearer test_aws_authorization'", False),
        (b"set-cookie: test_set_cookie", False),
        (b"set-cookie:\n      - test_set_cookie\n      - session=eyJ1c2VyIjo3fQ", True),
        (b"authorization:\n      - Custom test_key_k7Qpz0mX", True),
        (b"authorization: Bearer fake k7Qpz0mX4vT2", True),
    ],
)
def test_a_header_field_with_credentials_is_found(lines: bytes, is_found: bool) -> None:
    """But no cookies of servers on the way, no placeholders, and no words that a filter has put there."""
    found = Redactor().find_secrets(b"    headers:\n      " + lines + b"\n    method: POST\n")
    assert [finding.kind for finding in found] == ["header field with credentials"] * is_found


@pytest.mark.parametrize("value", ["scrubbed", "REDACTED", "[Filtered]", "placeholder"])
def test_a_word_in_the_place_of_a_secret_is_no_finding(value: str) -> None:
    assert not Redactor().find_secrets(f"body: grant_type=x&client_secret={value}&y=1".encode())
    assert Redactor().find_secrets(f"body: grant_type=x&client_secret={value}-1&y=1".encode())


def test_scan_of_a_clean_file_is_empty() -> None:
    assert Redactor().find_secrets(b"a: [redacted]\nb: Bearer [redacted]\nc: chatcmpl-0123456789abcdefghij\n") == []


@pytest.mark.parametrize(
    ("location", "clean"),
    [
        ("https://app.example/back?code=4/0AX4XfWh7&state=ab", "https://app.example/back?code=[redacted]&state=ab"),
        ("/back#access_token=ab12&expires_in=9", "/back#access_token=[redacted]&expires_in=9"),
        ("https://x.example/y?token=short-17", "https://x.example/y?token=[redacted]"),
        ("/shop?code=EUR&page=2", "/shop?code=EUR&page=2"),
    ],
)
def test_a_redirect_loses_its_secrets_by_name_and_the_request_that_follows_it_too(location: str, clean: str) -> None:
    redactor = Redactor()
    answer = redactor.redact_response(RecordedResponse(302, (("location", location), ("etag", 'W/"a=b"'))))
    assert dict(answer.headers) == {"location": clean, "etag": 'W/"a=b"'}
    followed = redactor.redact_request(post(url=str(httpx2.URL("https://app.example").join(location))))
    again = redactor.redact_request(post(url=str(httpx2.URL("https://app.example").join(clean))))
    assert key_of(followed, MatchRules()) == key_of(again, MatchRules())


def test_the_repr_of_what_was_sent_and_answered_shows_no_content() -> None:
    request = post(KEY, ("x-api-key", KEY), url=f"https://u:{KEY}@x.example/v1?key={KEY}")
    response = RecordedResponse(200, (("x-echo", KEY),), (RecordedChunk(KEY.encode()),), error=KEY)
    assert KEY not in repr(request) + repr(response) + repr(Interaction(request, response)) + str(request)
    assert "https://x.example/v1" in repr(request)
    in_a_file = StoredRequest(request.method, request.url, request.headers, BodyFile("sha256-0", 3))
    assert KEY not in repr(in_a_file)
