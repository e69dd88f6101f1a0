"""Shows dummy API keys in the environment while no request needs a real one.

So clients can be made without a key, and real keys are not used. The variables of ``provider_keys``, and those of the
setting ``dummy_keys``, get the dummy if they are not set; with ``-unset`` in that setting they stay unset. A key that
is set is replaced if it is the machine's own. A key that a test sets for itself is left alone. Everything is restored
afterwards, unless it was changed meanwhile.

Redactors must know the real keys all the time: an application may have read them before the dummies were there.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from aquila.intercept import provider_keys
from aquila.recording import runtime
from aquila.recording.environment import (
    DUMMY_KEY,
    find_missing_variables,
    read_environment,
    read_variables,
    set_own_variables,
    unset_unchanged_variables,
)

if TYPE_CHECKING:
    from aquila.setting_types import StartSettings

NO_DUMMIES: Mapping[str, str] = {}
"""For the time in which requests may need a key: the environment stays as it is."""


@contextlib.contextmanager
def remember_environment() -> Iterator[None]:
    """Remember the present variables as the machine's own until the block ends. Variables that are set later are noted.

    Called before any test has set a variable.
    """
    keys = runtime.machine_keys()
    outer = keys.environment
    learn_environment()
    try:
        with runtime.set_variables().noting():
            yield
    finally:
        keys.environment = outer


def learn_environment() -> None:
    """Remember the present variables as the machine's own."""
    keys = runtime.machine_keys()
    environment = read_environment()
    # A run within a test that replays sees that test's dummies, so the keys behind them are added. A variable that the
    # test has set for itself counts as the machine's own here.
    hidden = {name: value for name, value in keys.hidden.items() if DUMMY_KEY in environment.get(name, "")}
    keys.environment = environment | hidden


def needs_no_key(settings: StartSettings) -> bool:
    """Whether no request under these settings needs a key: cassettes or the local model answer all of them."""
    if settings.transport == "record":
        return settings.upstream in ("local", "script")
    return settings.transport in ("replay", "local", "script")


# The arguments are all that decides about the dummies, so no entry goes out of date. A run has few combinations.
@functools.lru_cache(maxsize=16)
def _cached_dummies(
    extra: tuple[str, ...], *, answers: bool, named: bool, variables: frozenset[str] | None
) -> Mapping[str, str]:
    dummies = provider_keys.dummies_for_answers(extra) if answers else provider_keys.dummies_for_run(extra)
    if variables is not None:
        dummies = provider_keys.without_unset(dummies, extra, variables)
    return provider_keys.name_dummies(dummies) if named else dummies


def dummies_of_run(settings: StartSettings) -> Mapping[str, str]:
    """The dummies that a run shows outside its scopes: none unless nothing in it needs a key."""
    return dummies_shown(settings, answers=False) if needs_no_key(settings) else NO_DUMMIES


def dummies_shown(settings: StartSettings, *, answers: bool) -> Mapping[str, str]:
    """The dummies that are shown under these settings, where no request needs a key.

    ``answers`` says that a scope answers all requests, so that ``SHARED_KEYS`` are replaced too.
    """
    # A run that verifies sends recorded requests again, and needs to know which real key each dummy stands for.
    named = runtime.current_run().play_log is not None
    words, machine = settings.dummy_keys, runtime.machine_keys().environment
    variables = frozenset(machine) if provider_keys.NO_UNSET in words else None
    unset = [f"-{name}" for name in provider_keys.ONLY_WHERE_SET if name not in machine]
    words = (*unset, *words)  # first, because a project's own word may add one
    return _cached_dummies(words, answers=answers, named=named, variables=variables)


# The arguments are all that decides, so no entry goes out of date. A run alternates between two sets of dummies: those
# for a cassette that answers, and those between two tests.
@functools.lru_cache(maxsize=8)
def _differing_names(
    shown: tuple[str, ...], shown_dummies: tuple[str, ...], wanted: tuple[str, ...], wanted_dummies: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names whose dummies must go, and the names that are new or get another dummy.

    Both are in the order of the tables, for which the encoded names are cached.
    """
    before, after = tuple(zip(shown, shown_dummies, strict=True)), tuple(zip(wanted, wanted_dummies, strict=True))
    gone, new = set(before).difference(after), set(after).difference(before)
    return (
        tuple([name for name, _ in filter(gone.__contains__, before)]),
        tuple([name for name, _ in filter(new.__contains__, after)]),
    )


class DummyKeys:
    """The dummies that a run shows in the environment of this process. None are shown at first.

    ``base`` are those that it shows outside its scopes. ``outside`` are the ids of the scopes that were open when the
    run began.
    """

    def __init__(self, base: Mapping[str, str], outside: Iterable[str] = ()) -> None:
        self.base = base
        self.outside = frozenset(outside)
        # By variable: the value that its dummy has replaced, None if it was not set, and the dummy. No lock of its own:
        # `Interception` calls these methods, and its lock lets one thread at a time change the environment.
        self._replaced: dict[str, tuple[str | None, str]] = {}
        self._shown = NO_DUMMIES  # the last argument of `show`, compared by identity

    def show(self, dummies: Mapping[str, str], *, anew: bool = False) -> None:
        """Show these dummies and no others from now on. An empty mapping restores everything.

        With ``anew`` dummies that have gone are shown again: an earlier test may have deleted their variables. Dummies
        that are shown already are not written again: every replayed test calls this, and there are many variables.
        """
        if dummies is not self._shown:
            shown = tuple([dummy for _, dummy in self._replaced.values()])
            gone, new = _differing_names(tuple(self._replaced), shown, tuple(dummies), tuple(dummies.values()))
            if gone:
                self._restore(gone)
            if new:
                self._replace(new, dummies)
            self._shown = dummies
        if anew and (missing := find_missing_variables(dummies)):
            self._replace(missing, dummies)

    def cover_what_was_set(self) -> None:
        """Show the dummies also in variables that were changed or deleted since."""
        shown = self._shown
        there = zip(shown, read_variables(shown), strict=True)
        self._replace([name for name, value in there if value != shown[name]], shown)

    def suspend(self) -> tuple[Mapping[str, str], Mapping[str, tuple[str | None, str]]]:
        """Restore everything, because a run within a test shows its own dummies. Return the arguments of ``resume``."""
        shown = self._shown
        there = {name: pair for name, pair in self._replaced.items() if os.environ.get(name) == pair[1]}
        self.show(NO_DUMMIES)
        return shown, there

    def resume(self, shown: Mapping[str, str], replaced: Mapping[str, tuple[str | None, str]]) -> None:
        """Show the dummies again that ``suspend`` has removed. The arguments are what it has returned."""
        self._put(replaced)
        self._shown = shown

    def _replace(self, names: Collection[str], dummies: Mapping[str, str]) -> None:
        found: dict[str, tuple[str | None, str]] = {}
        for name, value in zip(names, read_variables(names), strict=True):
            dummy = dummies[name]
            if value is None:
                found[name] = self._replaced.get(name, (None, ""))[0], dummy
            elif DUMMY_KEY in dummy and value != dummy and _is_the_machines(name, value):
                found[name] = value, dummy  # a dummy without `DUMMY_KEY` stands for no key, and replaces no value
        if found:
            self._put(found)

    def _put(self, replaced: Mapping[str, tuple[str | None, str]]) -> None:
        self._replaced.update(replaced)
        # A list, because mostly no value is found, and `any` would resume a generator for each variable.
        if [name for name, (value, _) in replaced.items() if value is not None]:
            # Before the environment changes: at no moment may a key be in neither place, where no redactor finds it.
            self._tell_hidden()
        set_own_variables({name: dummy for name, (_, dummy) in replaced.items()})

    def _restore(self, names: Iterable[str]) -> None:
        # A variable that the program has changed keeps its new value.
        added: dict[str, str] = {}
        hidden: dict[str, tuple[str, str]] = {}
        for name in names:
            value, dummy = self._replaced.pop(name)
            if value is None:
                added[name] = dummy
            else:
                hidden[name] = value, dummy
        unset_unchanged_variables(added)
        if not hidden:  # as between two tests
            return
        for name, there in zip(hidden, read_variables(hidden), strict=True):
            value, dummy = hidden[name]
            if there == dummy:
                os.environ[name] = value
        self._tell_hidden()

    def _tell_hidden(self) -> None:
        runtime.machine_keys().hidden = {
            name: value for name, (value, _) in self._replaced.items() if value is not None
        }


def _is_the_machines(name: str, value: str) -> bool:
    environment = runtime.machine_keys().environment
    return not environment or value == environment.get(name)
