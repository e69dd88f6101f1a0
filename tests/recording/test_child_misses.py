"""Misses of child processes, as the test that started them takes them in."""

from __future__ import annotations

import json

import pytest

from aquila import errors
from aquila.recording.child_misses import describe_miss, miss_from

MISSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CassetteMiss)]


@pytest.mark.parametrize("kind", MISSES)
def test_every_kind_of_miss_arrives_as_it_was(kind: type[errors.CassetteMiss]) -> None:
    arrived = miss_from(json.loads(json.dumps(describe_miss(kind("what was asked", difference="a", group="b")))))
    assert (arrived.public_class, str(arrived)) == (kind, "what was asked")
    assert (arrived.difference, arrived.group) == ("a", "b")
