"""A value that a request names as a secret is redacted, and so is its echo, wherever a service puts it."""

from __future__ import annotations

import base64
import json
import string
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aquila.cassettes.body_file import LARGE
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.request_credentials import find_named_secrets
from aquila.cassettes.redaction.trivial_values import is_trivial
from tests.support.examples import examples
from tests.support.slow import slow_but_each
from tests.support.values import is_number

URL = "https://x.example/v1/login"
FORM = "application/x-www-form-urlencoded"


def request(body: str = "", media: str = "application/json", url: str = URL, **headers: str) -> RecordedRequest:
    fields = (("content-type", media), *((name.replace("_", "-"), value) for name, value in headers.items()))
    return RecordedRequest("POST", url, fields, body.encode())


def test_a_plus_sign_in_a_key_of_a_query_is_no_space() -> None:
    key = "3Fz8+kd92jdKQ+a8s7abQ=="
    redactor = Redactor()
    redactor.redact_request(request(url=f"{URL}?code={key}"))
    assert redactor.redact_text(f"{URL}?status=1&code={key}") == f"{URL}?status=1&code=[redacted]"


@pytest.mark.parametrize("name", ["upload_id", "X-Signature"])
def test_an_address_that_lets_anybody_in_for_a_while_does_so_for_nobody_later(name: str) -> None:
    address = f"https://store.example/upload/v1beta/files?alt=json&{name}=ABPnzm7Qk2-xY81vLr0c_hT5w"
    clean = "https://store.example/upload/v1beta/files?alt=json&" + name + "=[redacted]"
    redactor = Redactor()
    started = RecordedResponse(200, (("x-goog-upload-url", address),), (RecordedChunk(f"go on at {address}".encode()),))
    once = redactor.redact_interaction(Interaction(request(), started))
    assert once.response.headers == (("x-goog-upload-url", clean),)
    assert once.response.body == f"go on at {clean}".encode()
    assert unquote(redactor.redact_request(request(url=address)).url) == clean


@pytest.mark.parametrize("media", [FORM, "text/html; charset=utf-8"])
def test_what_a_sign_in_by_oauth_1_answers_lets_nobody_in(media: str) -> None:
    tokens = (
        "oauth_token=NPcudxy0yU5T3tBzho7iCotZ3cnetKwcTIRlX0&oauth_token_secret=veNRnAWe6inFuo8o2u8SLLZLjolYDmDP7SzL"
    )
    answer = RecordedResponse(200, (("content-type", media),), (RecordedChunk(f"{tokens}&user_id=1".encode()),))
    once = Redactor().redact_interaction(Interaction(request(), answer)).response.body
    assert once == b"oauth_token=[redacted]&oauth_token_secret=[redacted-2]&user_id=1"
    again = RecordedResponse(200, (("content-type", media),), (RecordedChunk(once),))
    assert Redactor().redact_response(again) is again


def test_secrets_of_an_xml_document_are_redacted_where_they_stand() -> None:
    body = (
        '<a key="b" password="Zq81-not-4711"><user>app</user><s:Password x="1">hunter2hunter2</s:Password><token/></a>'
    )
    clean = Redactor().redact_request(request(body, "text/xml")).body.decode()
    assert (
        clean
        == '<a key="b" password="[redacted]"><user>app</user><s:Password x="1">[redacted-2]</s:Password><token/></a>'
    )


def part(name: str, value: str) -> str:
    return (
        '--b1\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        f'--b1\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--b1--\r\n'
    )


# Ways in which a request may carry a credential, by name.
CARRIED: dict[str, Callable[[str], RecordedRequest]] = {
    "query": lambda value: request(url=f"{URL}?q=1&api_key={quote(value, safe='')}"),
    "query, camel case": lambda value: request(url=f"{URL}?accessToken={quote(value, safe='')}"),
    "query, any token": lambda value: request(url=f"{URL}?upload_token={quote(value, safe='')}"),
    "query, an id that is a key": lambda value: request(url=f"{URL}?q=Oslo&appid={quote(value, safe='')}"),
    "form, an id that is a key": lambda value: request(f"q=Oslo&app_id={quote_plus(value)}", FORM),
    "fragment": lambda value: request(url=f"{URL}#access_token={quote(value, safe='')}&state=1"),
    "cookie": lambda value: request(cookie=f"theme=dark; session={value}; lang=en"),
    "userinfo": lambda value: request(url=f"https://app:{quote(value, safe='')}@x.example/v1"),
    "userinfo, a name alone": lambda value: request(url=f"https://{quote(value, safe='')}@x.example/v1"),
    "form": lambda value: request(f"grant_type=x&client_secret={quote_plus(value)}", FORM),
    "form, of a database": lambda value: request(f"db_password={quote_plus(value)}&a=b", FORM),
    "xml": lambda value: request(
        f"<login><user>app</user><ns:Password a='1'>{value}</ns:Password></login>", "text/xml"
    ),
    "xml, text as it is": lambda value: request(f"<a><Password><![CDATA[{value}]]></Password></a>", "text/xml"),
    "xml, attribute": lambda value: request(f'<?xml version="1.0"?>\n<login apiKey="{value}"/>', "application/xml"),
    "json": lambda value: request(json.dumps({"user": "app", "password": value})),
    "json, camel case": lambda value: request(json.dumps({"apiKey": value})),
    "json, in capitals": lambda value: request(json.dumps({"API_KEY": value})),
    "json, numbered": lambda value: request(json.dumps({"api_key_2": value})),
    "json, numbered behind a dash": lambda value: request(json.dumps({"api-key-2": value})),
    "json, prefixed": lambda value: request(json.dumps({"config": [{"openai_api_key": value}]})),
    "json, access key": lambda value: request(json.dumps({"auth": {"access_key": value, "region": "eu"}})),
    "json, a secret": lambda value: request(json.dumps({"secret": value})),
    "json, in a list": lambda value: request(json.dumps({"passwords": 1, "password": ["a", value]})),
    "json, of a tool server": lambda value: request(json.dumps({"tools": [{"type": "mcp", "authorization": value}]})),
    "json, header fields": lambda value: request(json.dumps({"headers": {"Authorization": f"Bearer {value}"}})),
    "json, in lines": lambda value: request('{"a":1}\n' + json.dumps({"password": value}) + "\n"),
    "json, escaped": lambda value: request(
        '{"password":"%s"}' % "".join(f"\\u{ord(char):04x}" for char in value)  # noqa: UP031
    ),
    "multipart": lambda value: request(part("api_key", value), "multipart/form-data; boundary=b1"),
    "multipart, camel case": lambda value: request(part("idToken", value), "multipart/form-data; boundary=b1"),
    "multipart, capitals": lambda value: request(part("API_KEY", value), "multipart/form-data; boundary=b1"),
    "header": lambda value: request(authorization=f"Bearer {value}"),
    "header, no scheme": lambda value: request(authorization=value),
    "header, basic": lambda value: request(authorization=f"Basic {base64.b64encode(b'me:' + value.encode()).decode()}"),
    "header, basic, a name alone": lambda value: request(
        authorization=f"Basic {base64.b64encode(value.encode() + b':').decode()}"
    ),
    "header, a key": lambda value: request(x_api_key=value),
    "header, a maker's scheme": lambda value: request(authorization=f"Acme-API-Key {value}"),
    "header, a parameter": lambda value: request(authorization=f'Token realm="x", token="{value}"'),
    "header, a signature": lambda value: request(authorization=f"ACME1 SignedHeaders=host;date, Signature={value}"),
    "header, an id and a secret": lambda value: request(authorization=f"ApiKey app:{value}"),
    "header, two words in one": lambda value: request(x_secretkey=value),
    "header, a short name": lambda value: request(x_smtp_pass=value),
    "query, a code": lambda value: request(url=f"{URL}?state=1&code={quote(value, safe='')}"),
    "form, a code": lambda value: request(f"grant_type=authorization_code&code={quote_plus(value)}", FORM),
    "form, JSON in it": lambda value: request(f"a=b&payload={quote_plus(json.dumps({'password': value}))}", FORM),
    "form, a short name": lambda value: request(f"smtp_pass={quote_plus(value)}&a=b", FORM),
    "json, a short name": lambda value: request(json.dumps({"db_pass": value})),
    "json, in a string": lambda value: request(json.dumps({"job": 1, "payload": json.dumps({"password": value})})),
    "json, in a string in a string": lambda value: request(
        json.dumps({"payload": json.dumps([{"body": json.dumps({"do": [{"apiToken": value}]})}])})
    ),
    "json, to sign with": lambda value: request(json.dumps({"signingSecret": value, "algorithm": "x"})),
    "json, to encrypt with": lambda value: request(json.dumps({"encryption_key": value})),
}
# Ways in which the service may repeat it.
ECHOED: dict[str, Callable[[str], bytes]] = {
    "text": lambda value: f"bad credentials {value}, sorry".encode(),
    "json": lambda value: json.dumps({"error": f"who is {value}?"}).encode(),
    "json in json": lambda value: json.dumps({"error": json.dumps({"sent": value})}).encode(),
    "a link": lambda value: f"see https://x.example/?u={quote(value, safe='')}".encode(),
    "base64": lambda value: b"dump: " + base64.b64encode(b"u:" + value.encode()),
    "hexadecimal": lambda value: b"dump: " + value.encode().hex().encode(),
    "a stream": lambda value: b"".join(
        b"data: %s\n\n" % json.dumps({"delta": piece}).encode() for piece in ("so: ", value[:5], value[5:], ".")
    ),
}
passwords = st.text(string.ascii_letters + string.digits + "-_.!$*~", min_size=10, max_size=30).filter(
    lambda value: not is_trivial(value) and any(map(str.isdigit, value)) and any(map(str.isalpha, value[1:]))
)


def spellings(value: str) -> list[bytes]:
    return [value.encode(), value.encode().hex().encode(), base64.b64encode(b"u:" + value.encode())[4:-4]]


@pytest.mark.parametrize("carried", sorted(CARRIED))
@given(value=passwords, echoed=st.sampled_from(sorted(ECHOED)))
@settings(max_examples=examples(25), deadline=None)
def test_the_echo_of_a_named_credential_survives_nowhere(carried: str, value: str, echoed: str) -> None:
    assume("redacted" not in value and value[0] not in "$~*." and value[-1] not in "!.*$" and not is_number(value))
    sent = CARRIED[carried](value)
    body = ECHOED[echoed](value)
    answer = RecordedResponse(
        401, (("x-request-id", f"r-{value}"),), (RecordedChunk(body[:11]), RecordedChunk(body[11:])), error=value
    )
    redactor = Redactor()
    once = redactor.redact_interaction(Interaction(sent, answer))
    stored = b"\n".join(
        (once.request.url.encode(), once.request.body, once.response.body, once.response.error.encode())
    )
    said = "".join(json.loads(line[6:])["delta"] for line in stored.decode().splitlines() if line.startswith("data: "))
    for spelling in spellings(value):
        assert spelling not in stored
        assert spelling.decode() not in said
        assert spelling.decode() not in str(once.request.headers) + str(once.response.headers)
    assert redactor.redact_interaction(once) is once
    assert Redactor().redact_request(once.request) is once.request


@pytest.mark.parametrize("carried", slow_but_each(3, sorted(CARRIED)))
@given(one=passwords, other=passwords)
@settings(max_examples=examples(15), deadline=None)
def test_the_same_request_with_another_credential_is_the_same_request(carried: str, one: str, other: str) -> None:
    assume("redacted" not in one + other and "$" not in one[0] + other[0])
    assume(not is_number(one) and not is_number(other))
    keys = {key_of(Redactor().redact_request(CARRIED[carried](value)), MatchRules()) for value in (one, other)}
    assert len(keys) == 1


@pytest.mark.parametrize(
    "carried", ["form", "json", "json, in a string", "json, prefixed", "multipart", "query", "userinfo"]
)
@pytest.mark.parametrize("dummy", ["test", "postgres", "not-needed", "x"])
def test_a_dummy_in_place_of_a_credential_is_the_same_request(carried: str, dummy: str) -> None:
    """Recorded with a real one; replayed where there is none."""
    keys = {
        key_of(Redactor().redact_request(CARRIED[carried](value)), MatchRules()) for value in ("Zq81-not-4711", dummy)
    }
    assert len(keys) == 1


def test_a_plain_word_is_redacted_in_its_field_and_nowhere_else() -> None:
    sent = request(json.dumps({"password": "postgres", "prompt": "What is postgres?"}))
    redactor = Redactor()
    assert json.loads(redactor.redact_request(sent).body) == {"password": "[redacted]", "prompt": "What is postgres?"}
    assert redactor.redact_text("postgres is a database") == "postgres is a database"


def test_a_password_with_an_at_sign_is_found_whole() -> None:
    redactor = Redactor()
    assert redactor.redact_text("dsn=postgres://app:p@ss@word-1@db:5432/x") == "dsn=postgres://[redacted]@db:5432/x"
    redactor.redact_request(request(url="https://app:p@ss-word-1@x.example/v1"))
    assert redactor.redact_text("you sent p@ss-word-1") == "you sent [redacted]"


LOGPROBS = [{"token": "Hello", "logprob": -0.1, "bytes": [72], "top_logprobs": [{"token": "Passw0rd!x9"}]}]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "x", "password": "Zq81-not-4711"}]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "token": "Zq81-not-4711"}]}]},
        {"contents": [{"parts": [{"text": "x", "secret": "Zq81-not-4711"}]}]},
        {"tools": [{"parameters": {"properties": {"password": {"type": "string", "default": "Zq81-not-4711"}}}}]},
        {"tools": [{"input_schema": {"properties": {"token": "Zq81-not-4711"}}}]},
        {"logprobs": {"content": LOGPROBS}},
        {"choices": [{"logprobs": {"content": LOGPROBS}}]},
        {"token": "Hello", "tokens": ["Zq81-not-4711"]},
        {"max_tokens": "Zq81-not-4711", "stop_token": "<|end-of-4711|>", "eos_token": "</s-4711-end>"},
        {
            "progressToken": "tok-4711-abc",
            "page_token": "Zq81-not-4711",
            "nextPageToken": "Zq81-not-4711",
            "prompt_cache_key": "user-4711-abc",
        },
        {"key": "user-4711-abc", "idempotency_key": "Zq81-not-4711", "token": "three little words 4711"},
        {"api_key": "${API_KEY}", "password": "{{ password }}", "client_secret": "<your client secret>"},
        {"labels": {"password": "Please enter your password", "token": "Das Token"}},
        {"token": "/home/me/project-4711", "pwd": "/home/me/project-4711"},
    ],
    ids=str,
)
def test_names_tell_nothing_in_prompts_schemas_and_lists_of_tokens(body: object) -> None:
    sent = request(json.dumps(body))
    redactor = Redactor()
    assert redactor.redact_request(sent) is sent
    assert redactor.redact_text("Zq81-not-4711 user-4711-abc Hello") == "Zq81-not-4711 user-4711-abc Hello"


@pytest.mark.parametrize(
    "body",
    ['{"password": "Zq81-not-4711"', '{"password": Zq81}', '{"a": "\\"', "[" * 5000],
)
def test_a_body_that_is_no_json_is_searched_without_names(body: str) -> None:
    sent = request(body)
    assert Redactor().redact_request(sent) is sent


def test_a_named_secret_with_half_a_surrogate_pair_is_redacted() -> None:
    clean = Redactor().redact_request(request('{"password": "\\ud800-4711x"}'))
    assert clean.body == b'{"password": "[redacted]"}'


def test_a_large_body_is_searched_for_names_too() -> None:
    body = json.dumps({"prompt": "word " * LARGE, "password": "Zq81-not-4711", "api_key": "test"})
    redactor = Redactor()
    clean = json.loads(redactor.redact_request(request(body)).body)
    assert {**clean, "prompt": ""} == {"prompt": "", "password": "[redacted]", "api_key": "[redacted-2]"}


def test_a_large_form_is_searched_for_names_too() -> None:
    body = "prompt=" + "word+" * LARGE + "&client_secret=Zq81-not-4711"
    assert Redactor().redact_request(request(body, FORM)).body.endswith(b"+&client_secret=[redacted]")


def test_a_parameter_of_an_authorization_that_is_no_secret_stays_in_a_prompt() -> None:
    digest = 'Digest realm="eagles-of-4711", response="Zq81-not-4711"'
    sent = request(json.dumps({"prompt": "eagles-of-4711, not Zq81-not-4711"}), authorization=digest)
    assert json.loads(Redactor().redact_request(sent).body) == {"prompt": "eagles-of-4711, not [redacted]"}


def test_names_count_in_no_answer() -> None:
    body = json.dumps({"password": "Zq81-not-4711", "token": "Zq82-not-4711"}).encode()
    answer = RecordedResponse(200, (), (RecordedChunk(body),))
    assert Redactor().redact_response(answer) is answer


def test_of_thousands_of_named_values_the_last_are_remembered() -> None:
    redactor = Redactor()
    for number in range(400):
        redactor.redact_request(request(url=f"{URL}?access_token=Zq81-{number:04}-x"))
    assert redactor.redact_text("Zq81-0399-x Zq81-0200-x") == "[redacted] [redacted]"


@pytest.mark.parametrize(
    ("offered", "kept", "secrets"),
    [
        (
            "realtime, openai-insecure-api-key.mykey-12345abcdef, openai-beta.realtime-v1",
            "realtime, openai-insecure-api-key.[redacted], openai-beta.realtime-v1",
            ["mykey-12345abcdef"],
        ),
        ("token, 0123456789abcdef0123", "token, [redacted]", ["0123456789abcdef0123"]),
        ("openai-organization.org-A1b2C3d4", "openai-organization.[redacted]", ["org-A1b2C3d4"]),
        ("graphql-ws, mqtt.v5", "graphql-ws, mqtt.v5", []),
    ],
)
def test_keys_among_the_subprotocols_of_a_handshake_are_credentials(
    offered: str, kept: str, secrets: list[str]
) -> None:
    asked = RecordedRequest("GET", "wss://x.example/v1/realtime", (("sec-websocket-protocol", offered),))
    for compares in (False, True):
        redactor = Redactor({})
        if compares:
            redactor.choose_headers(asked.headers)
        else:
            assert dict(redactor.redact_request(asked).headers)["sec-websocket-protocol"] == kept
        for secret in secrets:
            assert secret not in redactor.redact_text(f"it said {secret} again")


def names_secrets(body: bytes) -> frozenset[str]:
    media = "multipart/form-data; boundary=b1"
    return find_named_secrets(RecordedRequest("POST", URL, (), body), media).values


def test_a_large_multipart_body_without_such_names_is_not_copied() -> None:
    body = part("file", "x" * (16 << 20)).encode()
    assert not names_secrets(body)  # what is loaded late is loaded
    tracemalloc.start()
    try:
        assert not names_secrets(body)
        assert tracemalloc.get_traced_memory()[1] < len(body) / 4
    finally:
        tracemalloc.stop()


@given(before=st.integers((1 << 20) - 120, 1 << 20))
@settings(max_examples=examples(20))
def test_a_name_is_found_wherever_in_a_large_body_it_stands(before: int) -> None:
    body = f'--b1\r\nContent-Disposition: form-data; name="a"\r\n\r\n{"x" * before}\r\n'
    body += part("API_KEY", "s3cr3t-v4lue")
    assert names_secrets(body.encode()) == {"s3cr3t-v4lue"}
