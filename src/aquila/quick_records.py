"""Frozen dataclasses with slots, and named tuples, that are made quickly: for the records that every replay loads.

``dataclasses.dataclass`` writes five methods for a class and compiles them, which takes a millisecond. Here a class
writes its ``__init__`` out, and the other methods are closures. ``replace``, ``fields`` and similar functions take the
class for a dataclass: the description of its fields, which they read, is made when it is first needed.

``typing.NamedTuple`` compiles a function and each annotation of a class, which takes ten times as long as to make a
class without fields. Here the annotations stay texts, and the function is compiled when the first tuple of the class is
made.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any


def dataclass(*, frozen: bool, slots: bool, repr: bool = True) -> Callable[[type], type]:
    """Make a class a frozen dataclass with slots. The class defines ``__init__``; ``__post_init__`` is not called.

    Type checkers take this for ``dataclasses.dataclass``, hence the parameters. Only ``repr`` may differ.
    """
    if not (frozen and slots):
        raise TypeError("only frozen dataclasses with slots are made here")
    return lambda plain: _make_record(plain, shows_fields=repr)


def _make_record(plain: type, *, shows_fields: bool) -> type:
    contents = {name: value for name, value in vars(plain).items() if name not in ("__dict__", "__weakref__")}
    names = tuple(contents["__annotations__"])
    defaults = {name: contents.pop(name) for name in names if name in contents}
    described = {name: each for name, each in defaults.items() if isinstance(each, dataclasses.Field)}
    compared = [name for name in names if name not in described or described[name].compare is not False]
    source = {"__annotations__": contents["__annotations__"], "__module__": plain.__module__, **defaults}
    contents |= _methods_of(names, attrgetter(*compared))
    contents |= {"__slots__": names, "__match_args__": names}
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        contents[name] = _LazyAttribute(name, source, shows_fields)
    if shows_fields:
        contents["__repr__"] = _make_repr([name for name in names if name not in described or described[name].repr])
    made = type(plain)(plain.__name__, plain.__bases__, contents)
    made.__qualname__ = plain.__qualname__
    return made


class _LazyAttribute:
    """The attribute ``name`` that ``dataclasses`` gives to a class, made when it is first read.

    ``source`` has the annotations and defaults of the class.
    """

    def __init__(self, name: str, source: dict[str, Any], shows_fields: bool) -> None:
        self._name = name
        self._source = source
        self._shows_fields = shows_fields
        self._described: Any = None

    def __get__(self, record: object, owner: type) -> Any:
        if self._described is None:
            plain = type("Described", (), dict(self._source))
            made: Any = dataclasses.dataclass(frozen=True, slots=True, repr=self._shows_fields)(plain)
            self._described = getattr(made, self._name)
        return self._described


def _methods_of(names: tuple[str, ...], compared_of: Callable[[Any], Any]) -> dict[str, Any]:
    def __eq__(self: Any, other: Any) -> Any:
        return compared_of(self) == compared_of(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(compared_of(self))

    def __setattr__(self: Any, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:  # for `copy.replace`
        return dataclasses.replace(self, **changes)

    methods = (__eq__, __hash__, __setattr__, __delattr__, __getstate__, __setstate__, __replace__)
    return {method.__name__: method for method in methods}


def _make_repr(names: list[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{type(self).__qualname__}({shown})"

    return __repr__


class _NamedTuple(tuple[Any, ...]):
    """What all named tuples have, as those of ``collections.namedtuple``."""

    __slots__ = ()
    if TYPE_CHECKING:  # each class has its own
        _fields: tuple[str, ...]
        _field_defaults: dict[str, Any]

    def __new__(cls, *values: Any, **named: Any) -> Any:
        # This runs for the first tuple of a class: it compiles the `__new__` that takes each field by its name, and
        # stores it. A subclass may have a `__new__` of its own, so the class that declares the fields gets it.
        owner = next(each for each in cls.__mro__ if "_fields" in vars(each))
        names = "".join([f"{name}, " for name in cls._fields])
        made = eval(f"lambda _cls, {names}: _make(_cls, ({names}))", {"_make": tuple.__new__, "__builtins__": {}})
        made.__defaults__ = tuple(cls._field_defaults.values())
        made.__qualname__ = f"{owner.__qualname__}.__new__"
        setattr(owner, "__new__", staticmethod(made))  # noqa: B010 - type checkers take an assignment for a mistake
        return made(cls, *values, **named)

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Any:
        return cls(*values)

    def _replace(self, /, **changes: Any) -> Any:
        return type(self)(**{**self._asdict(), **changes})

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={value!r}" for name, value in self._asdict().items()])
        return f"{type(self).__name__}({shown})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    __replace__ = _replace  # for `copy.replace`


class _NamedTupleMaker(type):
    def __new__(cls, name: str, bases: tuple[type, ...], contents: dict[str, Any]) -> Any:
        fields = tuple(contents.get("__annotations__", ()))
        contents |= {
            "__slots__": (),
            "__match_args__": fields,
            "_fields": fields,
            "_field_defaults": {field: contents.pop(field) for field in fields if field in contents},
        }
        for place, field in enumerate(fields):
            # Private to `collections`, and the fastest way to an item: a descriptor without a function.
            contents[field] = collections._tuplegetter(place, "")  # type: ignore[attr-defined]
        return type(name, (_NamedTuple,), contents)


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - the alias tells type checkers that it is exported
else:
    # Not by a class statement: `__new__` above makes classes of the plain `type`. This one must keep the metaclass.
    NamedTuple = type.__new__(_NamedTupleMaker, "NamedTuple", (), {})
