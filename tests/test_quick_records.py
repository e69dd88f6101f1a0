"""Records that are made quickly are frozen dataclasses to everything that asks."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from aquila.quick_records import dataclass


@dataclass(frozen=True, slots=True)
class Bird:
    """A bird."""

    name: str
    wings: int = 2
    ring: str = dataclasses.field(default="", compare=False, repr=False)

    def __init__(self, name: str, wings: int = 2, ring: str = "") -> None:
        for attribute, value in (("name", name), ("wings", wings), ("ring", ring)):
            object.__setattr__(self, attribute, value)


@dataclasses.dataclass(frozen=True, slots=True)
class Ordinary:
    name: str
    wings: int = 2
    ring: str = dataclasses.field(default="", compare=False, repr=False)


eagle = Bird("eagle", ring="7")


def test_they_compare_and_hash_by_the_fields_that_count() -> None:
    assert eagle == Bird("eagle", ring="8")
    assert eagle != Bird("eagle", 3, "7")
    assert eagle != Ordinary("eagle")
    assert len({eagle, Bird("eagle"), Bird("hen")}) == 2


def test_nothing_in_them_can_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        eagle.name = "hen"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        del eagle.name  # type: ignore[misc]
    with pytest.raises(AttributeError):
        object.__setattr__(eagle, "colour", "brown")


def test_dataclasses_reads_and_copies_them() -> None:
    assert dataclasses.is_dataclass(Bird)
    assert repr(eagle) == repr(Ordinary("eagle", ring="7")).replace("Ordinary", "Bird")
    assert dataclasses.asdict(eagle) == dataclasses.asdict(Ordinary("eagle", ring="7"))
    told = [(each.name, each.default, each.compare) for each in dataclasses.fields(eagle)]
    assert told == [(each.name, each.default, each.compare) for each in dataclasses.fields(Ordinary)]
    assert dataclasses.replace(eagle, wings=3).ring == "7"
    match eagle:
        case Bird(name, wings):
            assert (name, wings) == ("eagle", 2)


def test_an_ordinary_dataclass_can_add_fields_to_them() -> None:
    @dataclasses.dataclass(frozen=True)
    class Hunter(Bird):
        prey: str = "mice"

    assert Hunter("eagle", prey="fish").prey == "fish"


def test_they_can_be_copied_and_pickled() -> None:
    for again in (copy.copy(eagle), copy.deepcopy(eagle), pickle.loads(pickle.dumps(eagle))):
        assert (again, again.ring) == (eagle, "7")
