"""Which variables of an environment hold a secret, and which parts of their values are one."""

from __future__ import annotations

import base64
import json

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.environment_secrets import environment_secrets
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.trivial_values import is_trivial
from aquila.recording.environment import DUMMY_KEY

PLAIN = "Zq81-not-shaped-like-a-key-4711"
PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq+abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ\n"
    "q8Zk/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX=\n-----END PRIVATE KEY-----\n"
)
NAMES = (
    *("OPENAI_KEY_DEV", "DB_PASS", "SMTP_PASS", "MYSQL_PWD", "HF_TOKEN_READ", "TOKEN_GITHUB", "AUTH_TOKENS", "BEARER"),
    *("JWT", "REDIS_AUTH", "npm_config__auth", "AZURE_STORAGE_CONNECTION_STRING", "PASSWORD_SALT", "TOKEN", "KEY"),
    *("AZURE_KEY2", "OPENAI_API_KEY_1", "SLACK_WEBHOOK_URL", "GIT_PAT", "DB_PASS_DEV", "VAULT_SECRET_ID", "myApiKey"),
    *("MY_ACCESSKEY", "SSL_PRIVATEKEY", "SECRETKEY", "NPM_AUTHKEYS"),
    *("OPENAI_API_KEY", "GITHUB_TOKEN", "APP_SECRET", "DB_PASSWORD", "PGPASSWORD", "PASSWORD_OF_DB", "API_KEY_2"),
    *("AWS_SECRET_ACCESS_KEY", "SECRET_KEY_BASE", "GOOGLE_CREDENTIALS", "openai_api_key", "HF_TOKEN", "OPENAI_APIKEY"),
    *("NPM_AUTHTOKEN", "DB_PASSWORD_PROD", "REDIS_PASSWORD_0", "ANTHROPIC_ADMIN_KEY", "SSH_PASSPHRASE", "MY_CREDS"),
)
OTHERS = (
    *("PWD", "OLDPWD", "MONKEY", "OPENAI_MAX_OUTPUT_TOKENS", "TOKENS_PER_MINUTE", "SSH_AUTH_SOCK", "AUTH_MODE"),
    *("TOKEN_URL", "DB_PASSWORD_FILE", "KEY_PREFIX", "PRIMARY_KEY", "PUBLIC_KEY", "CACHE_KEY", "COMPASS", "PASS_RATE"),
    *("PATH", "HOME", "KEYBOARD", "TOKENIZERS_PARALLELISM", "MAX_TOKENS"),
    *("XAUTHORITY", "GPG_KEYRING", "SALTED", "PATTERN", "JWT_ISSUER", "KEY_FILE", "TERM", "TOKEN_TTL_SECONDS"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_named_like_a_secret_holds_one(name: str) -> None:
    assert environment_secrets({name: PLAIN}) == {PLAIN: f"value of {name}"}


@pytest.mark.parametrize("name", OTHERS)
def test_other_variables_hold_no_secret(name: str) -> None:
    assert environment_secrets({name: PLAIN}) == {}


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("DATABASE_URL", "postgres://app:p@ss%40word1@db:5432/x", {"p@ss%40word1", "p@ss@word1"}),
        ("SENTRY_URL", "https://0a1b2c3d4e5f60718293@o1.ingest.example/1", {"0a1b2c3d4e5f60718293"}),
        ("REPO", "https://deploy-eagles@host.example/x", set()),
        ("REPO", "https://deploy-eagles-of-sea@host.example/x", set()),
        ("STORE", "Endpoint=x;AccountName=y;AccountKey=aB3dE5gH7jK9mN==;z", {"aB3dE5gH7jK9mN=="}),
        ("PG", "host=db user=app password=tr0ub4dor", {"tr0ub4dor"}),
        ("JAVA_OPTS", "-Dx=1 -Djavax.net.ssl.keyStorePassword=tr0ub4dor", set()),
        ("AUTH_TOKENS", "tr0ub4dor-1,tr0ub4dor-2", {"tr0ub4dor-1,tr0ub4dor-2", "tr0ub4dor-1", "tr0ub4dor-2"}),
        ("AUTH_HEADER_TOKEN", f"Bearer {PLAIN}", {f"Bearer {PLAIN}", PLAIN}),
        ("API_KEY", f'"{PLAIN}"', {f'"{PLAIN}"', PLAIN}),
        ("LDAP_PASSWORD", "{SSHA}tr0ub4dor-1", {"{SSHA}tr0ub4dor-1"}),
        ("API_KEYS", '["tr0ub4dor-1", "tr0ub4dor-2"]', {"tr0ub4dor-1", "tr0ub4dor-2"}),
        ("WALLET_PRIVATE_KEY", "[174, 47, 154, 16, 202, 193]", {"[174, 47, 154, 16, 202, 193]"}),
        ("SOLVER_STEPS", "[174, 47, 154, 16, 202, 193]", set()),
        ("API_KEYS", "[]", set()),
        ("CREDENTIALS", '{"type": "service_account", "id": "eagles-4711", "secret": "tr0ub4dor-1"}', {"tr0ub4dor-1"}),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/keys/service-4711.json", set()),
        ("SOME_TOKEN", "https://auth.example/token/4711", set()),
        ("DEPLOY_WEBHOOK", "https://hooks.example/T4711/B4711", {"https://hooks.example/T4711/B4711"}),
    ],
)
def test_the_parts_of_a_value_that_are_secret_are_found(name: str, value: str, secrets: set[str]) -> None:
    assert set(environment_secrets({name: value})) == secrets


ACCOUNT = {
    "type": "service_account",
    "project_id": "eagles-4711",
    "private_key_id": "0a1b2c3d4e5f",
    "private_key": PEM,
    "client_email": "robot@eagles-4711.example",
    "token_uri": "https://oauth.example/token",
    "installed": {"client_secret": "tr0ub4dor-4711"},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOOGLE_CREDENTIALS", json.dumps(ACCOUNT)),
        ("SERVICE_ACCOUNT_JSON", json.dumps(ACCOUNT, indent=1)),
        ("SERVICE_ACCOUNT_JSON", "\n" + json.dumps(ACCOUNT).replace("\\n", "\n")),
        ("SERVICE_ACCOUNT_JSON", json.dumps({"value": json.dumps(ACCOUNT)})),
        ("GOOGLE_CREDENTIALS", base64.b64encode(json.dumps(ACCOUNT).encode()).decode()),
    ],
)
def test_the_secret_parts_of_a_json_credential_are_secrets(name: str, value: str) -> None:
    redactor = Redactor.from_environment({name: value})
    said = f"{PEM} tr0ub4dor-4711 robot@eagles-4711.example eagles-4711 https://oauth.example/token"
    clean = redactor.redact_text(json.dumps({"said": said}))
    assert "q8Zk" not in clean
    assert "tr0ub" not in clean
    assert clean.endswith(' [redacted] robot@eagles-4711.example eagles-4711 https://oauth.example/token"}')


@pytest.mark.parametrize(
    "written",
    [PEM, PEM.replace("\n", "\\n"), json.dumps({"signer": PEM})],
    ids=["lines", "one line", "a field of JSON"],
)
def test_a_private_key_in_any_variable_is_a_secret_however_it_is_written(written: str) -> None:
    redactor = Redactor.from_environment({"SIGNER": written})
    body = "".join(PEM.split("-----")[2].split())
    marked = "".join(f"E    + {line!r}\n" for line in PEM.splitlines(keepends=True))
    for text in (PEM, PEM.replace("\n", "\\n"), body, json.dumps(PEM), json.dumps(body), PEM.encode().hex(), marked):
        assert "q8Zk" not in redactor.redact_text(f"x {text} y")
        assert PEM.encode().hex()[40:80] not in redactor.redact_text(f"x {text} y")


def test_the_words_before_a_pgp_key_are_no_secrets() -> None:
    block = PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK").replace("--\nM", "--\nVersion: x (GNU/Linux)\r\n\r\nM")
    redactor = Redactor.from_environment({"SIGNING_KEY": block})
    assert redactor.redact_text("Version: 2 (GNU/Linux)") == "Version: 2 (GNU/Linux)"
    assert redactor.redact_text(f"> {PEM.splitlines()[2]}") == "> [redacted]"


COMMON = (
    *("postgres", "postgres1", "admin123", "Passwort", "administrator", "production", "password123", "test1234"),
    *("changeit", "Kennwörter", "development", "letmein", "guest-user", "super-secret", "app_dev_password"),
    *("", "1", "true", "short", "12345678", "xxxxxxxx", "********", "sunshine", "test-key", "your-api-key-here"),
    *("not-needed", "changeme", "Production", "fake-openai-api-key", "12345678901", DUMMY_KEY),
    *("tr0ub4d", "kelovatuminaperodas", "test-kelovatumina-perodasiluvot"),  # one character more is a secret
)


@pytest.mark.parametrize("value", COMMON)
def test_a_plain_word_as_a_password_changes_no_prompt(value: str) -> None:
    """Recorded where such variables are set, replayed where they are not: the same request."""
    assert is_trivial(value)
    prompt = RecordedRequest(
        "POST", "https://x.example/v1", (), json.dumps({"input": f"Say {value}! Do not say {value.upper()}."}).encode()
    )
    there = Redactor.from_environment({"DB_PASS": value, "SMTP_PASS": value, "MYSQL_PWD": value, "AUTH_TOKENS": value})
    assert there.redact_request(prompt) is prompt
    text = f'{{"a": "{value}", "b": 12345678, "c": true}}'
    assert there.redact_text(text) == text
    assert there.find_secrets(text.encode()) == []
    assert key_of(there.redact_request(prompt), MatchRules()) == key_of(
        Redactor.from_environment({}).redact_request(prompt), MatchRules()
    )


@pytest.mark.parametrize(
    "value",
    [
        *("tr0ub4dor", "qxkwvzjrmtpb", "hunter2-horse", "correct-horse-battery-staple", "123456789012", PLAIN),
        *("tr0ub4do", "kelovatuminaperodasi", "test-kelovatumina-perodasiluvota"),
    ],
)
def test_a_value_that_is_no_plain_word_is_a_secret(value: str) -> None:
    assert not is_trivial(value)
