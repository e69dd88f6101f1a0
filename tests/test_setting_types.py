"""The types of the settings list what the settings are."""

from __future__ import annotations

from typing import get_args, get_type_hints

from aquila.option_parsing import OPTIONS
from aquila.setting_types import CassetteOptions
from aquila.settings import parse_option


def test_types_have_the_keys_of_the_settings() -> None:
    assert list(CassetteOptions.__annotations__) == list(OPTIONS), (
        "CassetteOptions in setting_types.py has the settings in the order of OPTION_ROWS in config.py"
    )


def test_each_word_that_the_types_allow_is_valid() -> None:
    words = 0
    for name, hint in get_type_hints(CassetteOptions).items():
        for part in get_args(hint):
            for word in get_args(part):
                if isinstance(word, str):
                    parse_option(name, word, source="a test")
                    words += 1
    assert words == 28
