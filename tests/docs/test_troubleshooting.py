"""Every message of ``docs/troubleshooting.md`` is one that the package writes."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.docs.snippets import REPOSITORY

PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]


@cache
def source() -> str:
    """All of the package's code. Strings that are split over several lines are joined."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "src").rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", code)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_package_writes_this_message(message: str) -> None:
    pieces = [piece.strip(" ()") for piece in message.split("…")]
    assert all(piece in source() for piece in pieces if piece)


def test_a_message_that_does_not_exist_is_noticed() -> None:
    assert "was refused: nobody knows why" not in source()
    assert len(MESSAGES) > 15
