"""False positives are as bad as leaks: prompts, answers, code and documentation are recorded as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aquila.cassettes.model import RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.slow import slow_but_each
from tests.support.traffic import recorded_files

ROOT = Path(__file__).parents[3]

# What developers have in their environments that is no secret, or not much of one.
MACHINE = {
    "DB_PASS": "postgres",
    "DB_PASSWORD": "administrator",
    "SMTP_PASS": "password123",
    "MYSQL_PWD": "developer",
    "AUTH_TOKENS": "development,production",
    "JWT": "undefined",
    "APP_SECRET": "secret-sauce",
    "PGPASSWORD": "postgres1",
    "SESSION_KEY": "session-key",
}
MACHINES = [Redactor(), Redactor.from_environment(MACHINE)]

PROMPTS = [
    "Explain the difference between a bearer token and basic authentication. Is Basic dXNlcg safe?",
    "Our postgres database has an administrator account. Why does password123 fail in production?",
    "Connect with postgresql://user:password@localhost:5432/mydb or mysql://root:root@127.0.0.1/test, please.",
    "Send `Authorization: Bearer <your-token>` or `x-api-key: $API_KEY`; set OPENAI_API_KEY=sk-... first.",
    "Write a function: def login(username: str, password: str, token: str | None = None) -> dict[str, str]: ...",
    'curl -H "Authorization: Bearer ${TOKEN}" "https://api.example.com/v1/items?page_token=abc&key=name&limit=10"',
    "SELECT token, secret FROM sessions WHERE api_key = 'x' AND password IS NOT NULL ORDER BY auth_token LIMIT 10;",
    "El token de autenticación caducó; die Zugangsdaten fehlen; le mot de passe est incorrect; パスワードが必要です。",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "id 123e4567-e89b-12d3-a456-426614174000, order AB-4711-0815",
    "ISBN 978-3-16-148410-0, IBAN DE89 3704 0044 0532 0130 00",
    "task_runner_configuration_for_production_2024, sk_buff, hf_hub_download, re_compile_all",
    "fc-bayern, pa-system-2024-manual, al-andalus-from-711-to-1492, key-value-store",
    "The key to success is practice; the secret of the token ring network; a basic bearer of good news.",
    "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END CERTIFICATE-----",
    "base64: aGVsbG8gd29ybGQgdGhpcyBpcyBhIHRlc3Qgb2YgdGhlIGVtZXJnZW5jeSBicm9hZGNhc3Qgc3lzdGVt",
    "Mix 250 g of flour with 2 eggs at 180 °C; see https://example.org/recipes?q=pancakes&sort=new#steps for more.",
    '{"authorization": "granted by the manager in person", "cookie": "of oats and honey"}',
    "xoxo-love-you-forever-my-dear-friend",
    "a task-0123456789abcdef0123456789abcdef and a risk-based-approach-to-2024-planning",
    "https://x.org/sk-learn-tutorial-for-beginners-in-2024",
    "sk-your-api-key-goes-right-here-please",
    "Set the header Authorization: Bearer YOUR_TOKEN_GOES_HERE first.",
    "the bearer of internationalization; basic internationalization, basic understanding",
    "https://x.org/a?key=color&token=next&page_token=abc, mail me@host, see http://h:80/x@y",
    'def f(key="abc", token=None): return {"token": "eagle", "tokens": 5}',
    '{"type": "object", "properties": {"api_key": {"type": "string"}, "authorization": {"type": "string"}}}',
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    "AKIA is a prefix, eyJ too; ghp_short; hf_hub_download_with_many_words_in_its_name",
    "**** stars **** key: ****",
    "client = Client(oauth_token=self.oauth_token2, oauth_token_secret=request.args.get('oauth_token'))",
    "GET /authorize?oauth_token=YOUR_TOKEN_HERE&oauth_token_secret=${OAUTH_SECRET_1}",
    '{"name": "login", "arguments": "{\\"username\\": \\"me\\", \\"remember\\": true}"}',
]


@pytest.mark.parametrize("redactor", MACHINES, ids=["an empty machine", "a developer's"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_and_answers_are_left_alone(prompt: str, redactor: Redactor) -> None:
    assert redactor.redact_text(prompt) is prompt
    message = {"role": "user", "content": prompt}
    for body in ({"messages": [message]}, {"input": prompt}, {"prompt": prompt, "max_tokens": 16}):
        request = RecordedRequest(
            "POST", "https://api.example.com/v1/x", (("content-type", "application/json"),), json.dumps(body).encode()
        )
        assert redactor.redact_request(request) is request
    words = re.findall(r"\s*\S+", prompt)
    events = "".join(
        f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n" for word in words
    )
    answer = RecordedResponse(200, (("content-type", "text/event-stream"),), (RecordedChunk(events.encode()),))
    assert redactor.redact_response(answer) is answer


def without_tool_credentials(body: bytes) -> bytes:
    """A body without the field in which a request gives the credentials of a tool server. Answers repeat it."""
    return re.sub(rb'("authorization"\s*:\s*")[^"]*', rb"\1", body)


@pytest.mark.parametrize("path", slow_but_each(4, recorded_files()), ids=lambda path: path.stem)
def test_recorded_requests_and_answers_are_left_alone(path: Path) -> None:
    redactor = Redactor.from_environment(MACHINE)
    assert {finding.kind for finding in redactor.find_secrets(path.read_bytes())} <= {"header field with credentials"}
    for interaction in load_cassette(path).interactions:
        request = redactor.redact_request(interaction.request)
        response = redactor.redact_response(interaction.response)
        assert request.url == interaction.request.url
        assert without_tool_credentials(request.body) == without_tool_credentials(interaction.request.body)
        assert without_tool_credentials(response.body) == without_tool_credentials(interaction.response.body)


@pytest.mark.parametrize("pattern", ["src/**/*.py", "docs/*.md", "examples/**/*.py", "*.md"])
def test_code_and_documentation_are_left_alone(pattern: str) -> None:
    """This project's own, which speaks of keys and tokens all the time. Two pages show what is redacted."""
    redactor = Redactor.from_environment(MACHINE)
    found = {
        (path.name, finding.kind)
        for path in ROOT.glob(pattern)
        for finding in redactor.find_secrets(path.read_bytes())
        if finding.kind != "header field with credentials"
    }
    assert found <= {("redaction.md", "bearer token"), ("any-client.md", "private key")}
