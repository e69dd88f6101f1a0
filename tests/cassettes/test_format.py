"""What goes into a cassette file comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.model import Cassette
from aquila.errors import ConfigError
from tests.support.cassettes import cassettes


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".msgpack"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cassette=cassettes())
def test_every_cassette_comes_back_as_it_was_and_is_written_the_same_again(suffix: str, cassette: Cassette) -> None:
    codec = codec_for(Path("any" + suffix))
    data = codec.dumps(cassette)
    again = codec.loads(data, source="any")
    assert again == cassette
    assert codec.dumps(again) == data


def test_an_unknown_suffix_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\.toml"):
        codec_for(Path("a.toml"))
