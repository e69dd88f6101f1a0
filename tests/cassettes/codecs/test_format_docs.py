"""Every example in docs/cassette-format.md is a cassette, and is written as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aquila.cassettes.codecs import codec_for

PAGE = (Path(__file__).parents[3] / "docs" / "cassette-format.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
YAML = codec_for(Path("a.yaml"))


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 8
    assert len([example for example in EXAMPLES if example.startswith("aquila: 1\n")]) == 7


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_a_cassette_and_saving_it_gives_the_same_bytes(number: int) -> None:
    data = EXAMPLES[number].encode()
    cassette = YAML.loads(data, source="docs/cassette-format.md")
    assert cassette.interactions
    if data.startswith(b"aquila"):
        assert YAML.dumps(cassette) == data


def test_the_text_about_the_examples_is_right() -> None:
    odd, texts, chat, responses = (YAML.loads(EXAMPLES[at].encode(), source="docs") for at in (1, 2, 3, 4))
    body = re.search(r"^This body is `(.*)` and a line break", PAGE, re.M)
    assert body is not None
    assert odd.interactions[0].response.body.decode() == body[1] + "\n"
    chunks = texts.interactions[0].response.chunks
    assert [(chunk.at, len(chunk.data)) for chunk in chunks] == [(80, 19), (81, 14), (90, 0)]
    assert [chunk.at for chunk in chat.interactions[0].response.chunks][:2] == [412, 435]
    assert [chunk.at for chunk in responses.interactions[0].response.chunks] == [301, 344, 371, 398, 450, 451]
    assert responses.interactions[0].response.chunks[-1].data.startswith(b'tput_item.done\ndata: {"type"')
