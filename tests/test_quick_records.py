"""Records with a quick constructor behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila.quick_records import NamedTuple

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


def test_records_compare_and_hash_by_their_compared_fields() -> None:
    assert eagle == Bird("eagle", ring="8")
    assert eagle != Bird("eagle", 3, "7")
    assert eagle != Ordinary("eagle")
    assert len({eagle, Bird("eagle"), Bird("hen")}) == 2


def test_records_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        eagle.name = "hen"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        del eagle.name  # type: ignore[misc]
    with pytest.raises(AttributeError):
        object.__setattr__(eagle, "colour", "brown")


def test_the_dataclasses_module_reads_and_copies_records() -> None:
    assert dataclasses.is_dataclass(Bird)
    assert repr(eagle) == repr(Ordinary("eagle", ring="7")).replace("Ordinary", "Bird")
    assert dataclasses.asdict(eagle) == dataclasses.asdict(Ordinary("eagle", ring="7"))
    told = [(each.name, each.default, each.compare) for each in dataclasses.fields(eagle)]
    assert told == [(each.name, each.default, each.compare) for each in dataclasses.fields(Ordinary)]
    assert dataclasses.replace(eagle, wings=3).ring == "7"
    match eagle:
        case Bird(name, wings):
            assert (name, wings) == ("eagle", 2)


def test_an_ordinary_dataclass_can_inherit_from_a_record() -> None:
    @dataclasses.dataclass(frozen=True)
    class Hunter(Bird):
        prey: str = "mice"

    assert Hunter("eagle", prey="fish").prey == "fish"


def test_records_can_be_copied_and_pickled() -> None:
    for again in (copy.copy(eagle), copy.deepcopy(eagle), pickle.loads(pickle.dumps(eagle))):
        assert (again, again.ring) == (eagle, "7")


class Flight(NamedTuple):
    """A flight."""

    bird: str
    hours: float = 1.5
    stops: Sequence[str] = ()

    @property
    def minutes(self) -> float:
        """How long it takes."""
        return self.hours * 60


class OrdinaryFlight(typing.NamedTuple):
    bird: str
    hours: float = 1.5
    stops: Sequence[str] = ()


flight = Flight("eagle", stops=["nest"])


def test_named_tuples_are_tuples_whose_fields_have_names() -> None:
    assert flight == ("eagle", 1.5, ["nest"]) == OrdinaryFlight("eagle", stops=["nest"])
    assert (flight.bird, flight.hours, flight.stops, flight.minutes) == ("eagle", 1.5, ["nest"], 90)
    assert {Flight("eagle"): 1}[Flight("eagle")] == 1
    match flight:
        case Flight(bird, hours, stops):
            assert (bird, hours, stops) == flight
    assert Flight.__doc__ == "A flight."


def test_named_tuples_have_the_same_metadata_as_those_of_typing() -> None:
    assert repr(flight) == repr(OrdinaryFlight("eagle", stops=["nest"])).replace("OrdinaryFlight", "Flight")
    assert flight._asdict() == OrdinaryFlight(*flight)._asdict()
    for name in ("_fields", "_field_defaults", "__match_args__", "__slots__"):
        assert getattr(Flight, name) == getattr(OrdinaryFlight, name)
    assert typing.get_type_hints(Flight) == typing.get_type_hints(OrdinaryFlight)


def test_named_tuples_are_immutable() -> None:
    for name in ("bird", "colour"):
        with pytest.raises(AttributeError):
            setattr(flight, name, "hen")


def test_named_tuples_can_be_copied_pickled_and_replaced() -> None:
    for again in (copy.copy(flight), copy.deepcopy(flight), pickle.loads(pickle.dumps(flight)), Flight._make(flight)):
        assert again == flight
        assert type(again) is Flight
    assert flight._replace(bird="hen", hours=2) == Flight("hen", 2, ["nest"])


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("eagle", 1, (), 4), {}), (("eagle",), {"bird": "hen"}), (("eagle",), {"colour": "brown"})],
)
def test_named_tuples_refuse_wrong_arguments(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    class New(NamedTuple):  # the first of a class is made in another way than those that follow
        bird: str
        hours: float = 1.5
        stops: Sequence[str] = ()

    with pytest.raises(TypeError, match=r"New\.__new__\(\)"):
        New(*values, **named)
    assert New("eagle") == ("eagle", 1.5, ())
    with pytest.raises(TypeError, match=r"New\.__new__\(\)"):
        New(*values, **named)
    with pytest.raises(TypeError):
        New("eagle")._replace(colour="brown")


def test_a_named_tuple_may_have_no_field_and_methods_that_call_super() -> None:
    class Nothing(NamedTuple):
        pass

    class Loud(NamedTuple):
        bird: str

        def __str__(self) -> str:
            return super().__str__().upper()

    assert Nothing() == ()
    assert str(Loud("eagle")) == "LOUD(BIRD='EAGLE')"


def test_a_subclass_of_a_named_tuple_may_have_its_own_new() -> None:
    class Parcel(NamedTuple):
        bird: str
        weight: int

    class Letter(Parcel):
        def __new__(cls, bird: str) -> Letter:
            return super().__new__(cls, bird, 1)

    assert Letter("eagle") == Letter("eagle") == ("eagle", 1)  # also the second, after the first of all
    assert type(Letter("eagle")) is Letter
    assert Parcel("eagle", 2) == ("eagle", 2)
