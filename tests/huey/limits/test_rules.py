"""Limits as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.errors import ConfigError
from aquila.huey.limits.providers import is_host_of
from aquila.huey.limits.rules import EXAMPLE, parse_limits, period_of
from aquila.recording.network.model_hosts import PROVIDER_HOSTS


def read(text):
    return [(rule.provider, rule.model, rule.amount, rule.unit, rule.period) for rule in parse_limits(text)]


def test_the_example_reads_as_it_looks():
    assert read("openai: 60/min, 4 at once, 100k tokens/min") == [
        ("openai", "*", 60, "requests", 60),
        ("openai", "*", 4, "at once", 0),
        ("openai", "*", 100_000, "tokens", 60),
    ]
    assert read(EXAMPLE)[-1] == ("openai", "gpt-5*", 20, "requests", 60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*: 5/s", ("*", "*", 5, "requests", 1)),
        ("localhost:8000: 2 at  once", ("localhost:8000", "*", 2, "at once", 0)),
        (
            "llm.example.com/org/model: 1_000 requests per hour",
            ("llm.example.com", "org/model", 1000, "requests", 3600),
        ),
        ("Anthropic: 1.5M tokens / day", ("anthropic", "*", 1_500_000, "tokens", 86_400)),
        ("openai:3/minutes", ("openai", "*", 3, "requests", 60)),
        ("openai: 1 token per second", ("openai", "*", 1, "tokens", 1)),
    ],
)
def test_limits_may_be_written_as_people_write(text, expected):
    assert read(text) == [expected]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openai: 60/mn", r"at '60/mn' \(column 9\): a period is s, min, h or day, not 'mn'"),
        ("openai: 60/min, many at once", r"at 'many at once' \(column 17\): not a limit"),
        ("openai: 60/min; opnai: 5/s", r"at 'opnai' \(column 17\): no provider 'opnai' is known.*openai"),
        ("opnai: 5/s", r"known; did you mean 'openai'\? Name one of"),
        ("ollama: 1 at once", r"no provider 'ollama' is known.*, a host such as .*localhost:8000"),  # mostly here
        ("qqqq: 5/s", r"no provider 'qqqq' is known\. Name one of"),
        ("http://localhost:8000/v1: 1/s", r"a limit names a host, not a URL: localhost:8000: 1/s"),
        ("https://api.openai.com:2/s", r"a limit names a host, not a URL: api\.openai\.com: 2/s"),
        ("60/min", r"at '60/min' \(column 1\): there is no provider before a colon"),
        ("openai: 0/min", r"at '0/min' \(column 9\): a limit is a whole number from 1"),
        ("openai: 0.5 at once", "a limit is a whole number from 1"),
        (f"openai: {'9' * 400}/min", "not a limit"),
        ("openai: 4/min, 5/min", "'openai: 5/min' repeats 'openai: 4/min'"),
        ("", "there is no provider before a colon"),
        ("openai:", "not a limit"),
        (7, "a limit is a text such as"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_an_example(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_limits(text)
    assert isinstance(text, int) or " repeats " in said or EXAMPLE in str(caught.value)


@given(st.text(alphabet="openai:/*;, 0123456789kmstoecnr.", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        rules = parse_limits(text)
    except ConfigError:
        return
    assert rules
    assert all(rule.amount >= 1 and rule.period >= 0 for rule in rules)


@given(
    st.sampled_from([*PROVIDER_HOSTS, "a.example"]),
    st.integers(1, 10**7),
    st.sampled_from([("requests/s", "requests", 1), ("/min", "requests", 60), (" tokens/h", "tokens", 3600)]),
)
def test_what_is_written_is_what_is_kept(provider, amount, unit):
    assert read(f"{provider}: {amount}{unit[0]}") == [(provider, "*", amount, *unit[1:])]


def test_hosts_belong_to_their_providers():
    assert is_host_of("api.openai.com", "openai")
    assert is_host_of("eu.api.openai.com", "openai")
    assert is_host_of("x.openai.azure.com:443", "azure")
    assert is_host_of("us-east-1.api.x.ai", "xai")
    assert is_host_of("x.inference.ai.azure.com", "azure")
    assert is_host_of("localhost:8000", "localhost:8000")
    assert is_host_of("localhost:8000", "localhost")
    assert is_host_of("anything", "*")
    assert not is_host_of("openai.example.com", "openai")
    assert not is_host_of("localhost:8001", "localhost:8000")
    (rule,) = parse_limits("openai/GPT-5*: 1/s")
    assert rule.applies_to("api.openai.com", "gpt-5-mini")
    assert not rule.applies_to("api.openai.com", "gpt-4")


def test_the_id_of_a_rule_tells_its_period_and_nothing_else_has_one():
    rules = parse_limits("openai: 1/s, 1/min, 9 tokens/h, 9 tokens/day, 1 at once; openai/a|b*: 1/h")
    assert [period_of(rule.id) for rule in rules] == [rule.period for rule in rules]
    assert {period_of(id) for id in ("", "x", "x|nan", "x|inf", "x|-60", "x|1e-300")} == {0.0}
