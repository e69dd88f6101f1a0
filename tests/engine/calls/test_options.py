"""Options: what is taken, translated, and refused."""

from __future__ import annotations

import pytest

import aquila
from aquila.errors import ConfigError, InvalidMessage, MissingKey, UnknownOption, UnknownTransport
from tests.support.engines import Engine


def test_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(UnknownOption, match=r"'temprature'; did you mean 'temperature'\?"):
        aquila.ask("Hi", temprature=0)
    with pytest.raises(TypeError):
        aquila.stream("Hi", nonsense=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "hot"}, "option 'temperature' must be a number from 0 to 2, not 'hot'"),
        ({"temperature": 3}, "from 0 to 2, not 3"),
        ({"temperature": True}, "not True"),
        ({"seed": 1.5}, "option 'seed' must be a whole number, not 1.5"),
        ({"model": ""}, "option 'model' must not be empty"),
        ({"model": 5}, "option 'model' must be text, not int"),
        ({"endpoint": "chats"}, "option 'endpoint' must be one of 'chat', 'responses', not 'chats'"),
        ({"max_output_tokens": 0}, "at least 1, not 0"),
        ({"max_completion_tokens": 6}, "unknown option 'max_completion_tokens'; it is 'max_output_tokens' here"),
        ({"metadata": ["user"]}, "option 'metadata' must be a mapping"),
        ({"metadata": {1: 2}}, "text as keys"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0, not 0"),
        ({"timeout": float("nan")}, "above 0"),
        ({"max_retries": -1}, "at least 0"),
        ({"provider_options": {"stream": False}}, "Aquila decides whether an answer is streamed"),
        ({"sink": print}, "a sink is built with Sink.queue"),
        ({"base_url": "api.openai.com/v1"}, "is not an http or https URL"),
        ({"base_url": " https://api.openai.com/v1"}, "is not an http or https URL"),
        ({"base_url": "https://api.openai.com/v1\n"}, "is not an http or https URL"),
        ({"base_url": "http://localhost:80a/v1"}, "is not a URL: Port"),
        ({"base_url": "http://[::1/v1"}, "is not a URL: Invalid IPv6"),
        ({"endpoint": "responses", "seed": 1}, "'seed' belongs to endpoint='chat'"),
    ],
)
def test_wrong_value_is_refused_before_anything_is_sent(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        aquila.ask("Hi", **{"transport": "live", "api_key": "k", **options})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://user:hidden@host/v1", ".*/v1"),
        ("user:hidden@host/v1", ".*/v1"),
        ("http://user:hidden@host:80a/v1", ".*/v1"),
        ("http://user:hidden/more@host/v1", ".*/v1"),
        ("http://user:hidden@[::1/v1", ".*/v1"),
        ("host/v1?key=hidden", ".*/v1"),
        ("http://user:hid?den@host/v1", "'…"),
        ("ftp://host/v1?key=hid@den", "'…"),
    ],
)
def test_the_error_for_a_wrong_base_url_hides_its_secrets(url: str, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"base_url {shown}' is not a") as caught:
        aquila.ask("Hi", transport="live", api_key="k", base_url=url)
    assert "hid" not in str(caught.value)
    assert "den" not in str(caught.value)


def test_options_of_a_call_are_immutable() -> None:
    from aquila.engine.calls.options import Options

    options = Options.check({"temperature": 0, "api_key": "secret"})
    with pytest.raises(AttributeError, match="options do not change"):
        options.temperature = 1
    assert repr(options) == "Options(temperature=0)"
    assert options.metadata is not Options.check({}).metadata


def test_wrong_timeouts_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="timeout read must be"):
        aquila.Timeouts(read=-1)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        ("  \n", "the prompt is empty"),
        ([], "the prompt is empty"),
        ([("user", "Hi"), ("user", "")], r"message 1 \(user\) is empty"),
        (None, "a prompt is text, a message or a list of messages, not NoneType"),
        (b"Hi", "not bytes"),
        ([("usr", "Hi")], "unknown role 'usr' of a message; did you mean 'user'?"),
        (("usr", "Hi"), "did you mean 'user'?"),
        ([{"content": "Hi"}], "a message needs a 'role'"),
        ([{"role": "user", "contents": "Hi"}], "unknown field 'contents' of a message; did you mean 'content'?"),
        ([{"role": "tool", "content": "4"}], "needs call_id="),
        ([{"role": "user", "content": [{"type": "text"}]}], "lacks its fields"),
        ([{"role": "user", "content": [{"type": "video"}]}], "unknown type 'video'"),
        ([{"role": "user", "content": 5}], "not int"),
    ],
)
def test_prompt_that_cannot_be_sent_is_refused(prompt: object, message: str) -> None:
    with pytest.raises(InvalidMessage, match=message):
        aquila.ask(prompt, transport="live", api_key="k")


def test_live_without_a_key_lists_the_alternatives(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingKey, match=r"OPENAI_API_KEY.*api_key=.*replay.*local"):
        engine.ask("Hi", api_key=None)


def test_unknown_transport_lists_the_known_ones(engine: Engine) -> None:
    with pytest.raises(UnknownTransport, match=r"known are live, local, module:factory, record, replay, script"):
        engine.ask("Hi", transport="carrier-pigeon")
    with pytest.raises(UnknownTransport, match=r"did you mean 'live'\?"):
        engine.ask("Hi", transport="lively")


def test_later_changes_of_the_callers_metadata_do_not_affect_the_call() -> None:
    import httpx2

    from tests.support.provider import chat_stream

    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=chat_stream("ok")))
    metadata = {"id": 1}
    stream = aquila.stream("Hi", transport=transport, metadata=metadata)
    metadata["id"] = 2
    assert stream.result().meta["metadata"] == {"id": 1}
