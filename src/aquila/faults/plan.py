"""Decides which request meets which fault."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.faults.fault import Fault, ImpossibleFault, Within
from aquila.faults.parsing import read_faults
from aquila.fork_locks import renewed_in_child

if TYPE_CHECKING:
    from aquila.scripting.script import Gives

_MARK = re.compile(r"  # ([\w.-]+)$")
"""The mark at the end of a plan's text. It tells plans with the same faults apart, in every process."""


# No program can take these for an answer, although their status may be 200.
_UNREADABLE_ANSWERS = frozenset({"garbage", "truncated_json", "invalid_utf8", "error_event", "html_page"})
# The good answer, at once.
_OTHER_CHUNKS = frozenset({"one_byte", "one_piece", "split_events", "other_chunks"})


class SharedFaultCounts(Protocol):
    """Counts that several processes share, each under a label."""

    def count_request(self, label: str) -> int:
        """Add one to the count of a label, and return the count before that."""

    def count_of(self, label: str) -> int:
        """Return the count of a label."""


class MetFault(NamedTuple):
    """A fault that a request meets: its ``number`` in the plan, from 0, and the response that it causes."""

    number: int
    fault: Fault
    response: RecordedResponse

    @property
    def gives(self) -> Gives:
        """What the program gets in spite of the fault. After a delay it may have given up, so that is not all."""
        response = self.response
        is_whole = response.has_begun and response.end == "complete" and response.status < 400
        if not is_whole or self.fault.name in _UNREADABLE_ANSWERS:
            return "nothing"
        return "all" if self.fault.name in _OTHER_CHUNKS else "answer"


class FaultPlan:
    """Faults in their order. Equal requests meet each fault as often as its ``times`` says, then get good answers.

    A request does not meet a fault that cannot be applied to its answer. ``mark`` names the plan in all processes; it
    has letters, digits, ``_``, ``-`` and dots. Any thread may call the methods: ``_lock`` guards all counts, which are
    never cleared.
    """

    def __init__(self, faults: Sequence[Fault], mark: str = "plan") -> None:
        self.faults = tuple(faults)
        self.mark = mark
        self.met = 0
        """How many requests have met a fault in this process, and in other processes as far as they have reported."""
        self._met_by: set[int] = set()
        self._counts: dict[str, int] = defaultdict(int)
        # Set once, by ``share``; from then on ``_counts`` is not used any more.
        self._shared: SharedFaultCounts | None = None
        # Why a fault, by its number, could not be applied; a dict keeps the order, and each reason once.
        self._impossible: dict[int, dict[str, None]] = defaultdict(dict)
        self._lock = renewed_in_child(threading.Lock())

    @classmethod
    def from_text(cls, text: str, mark: str) -> FaultPlan:
        """Return the plan that a text describes.

        A mark in the text is used instead of ``mark``. Raises ``ConfigError``.
        """
        found = _MARK.search(text)
        return cls(read_faults(text), mark if found is None else found[1])

    @property
    def text(self) -> str:
        """The faults and the mark as text, for ``from_text``."""
        return f"{self}  # {self.mark}"

    def may_meet(self, key: str) -> bool:
        """Whether a request with a key can still meet a fault."""
        with self._lock:
            return any(
                fault.times is None or self._count_of(f"{number}:{key}") < fault.times
                for number, fault in enumerate(self.faults)
            )

    def meet(self, key: str, good: Interaction, within: Within | None = None) -> MetFault | None:
        """Return the fault that the request ``key`` meets, and count it; None if the request gets the ``good`` answer.

        ``within``: the part of a conversation that happens now; None for a whole conversation, or a plain request.
        """
        with self._lock:
            for number, fault in enumerate(self.faults):
                if within is not None and fault.kind.within not in (within, None):
                    continue
                label = f"{number}:{key}"
                if fault.times is not None and self._count_of(label) >= fault.times:
                    continue
                try:
                    response = fault.change(good)
                except ImpossibleFault as error:
                    self._impossible[number][str(error)] = None
                    continue
                before = self._count(label)
                # Between the check above and the count another process may have counted, too.
                if fault.times is None or before < fault.times:
                    self._count(f"{number}")
                    self._note(number)
                    return MetFault(number, fault, response)
        return None

    def note_met(self, number: int) -> None:
        """Note that a request of another process has met fault ``number`` of the plan."""
        with self._lock:
            if 0 <= number < len(self.faults):
                self._note(number)

    @property
    def unmet(self) -> Sequence[Fault]:
        """The faults that no request has met."""
        with self._lock:
            return [self.faults[number] for number in self._unmet_numbers()]

    def explain_unmet(self) -> str:
        """Return a message that names the faults which no request has met, with the reasons that are known.

        Returns "" if all are met.
        """
        with self._lock:
            unmet = self._unmet_numbers()
            reasons = dict.fromkeys(reason for number in unmet for reason in self._impossible.get(number, ()))
        if not unmet:
            return ""
        named = ", ".join(str(self.faults[number]) for number in unmet)
        shown = "".join(f"\n  {reason}" for reason in reasons)
        return f"no request met the fault{'s' if len(unmet) > 1 else ''} {named}{shown}"

    def _unmet_numbers(self) -> list[int]:
        return [
            number
            for number in range(len(self.faults))
            if number not in self._met_by and not self._count_of(f"{number}")
        ]

    def _note(self, number: int) -> None:
        self.met += 1
        self._met_by.add(number)

    def share(self, shared: SharedFaultCounts) -> None:
        """Use counts that are shared with other processes from now on, and add this process's counts to them."""
        with self._lock:
            if self._shared is not None:
                return
            for label, count in self._counts.items():
                for _ in range(count):
                    shared.count_request(self._label(label))
            self._shared = shared

    def _count(self, label: str) -> int:
        if self._shared is not None:
            return self._shared.count_request(self._label(label))
        self._counts[label] += 1
        return self._counts[label] - 1

    def _count_of(self, label: str) -> int:
        return self._shared.count_of(self._label(label)) if self._shared is not None else self._counts.get(label, 0)

    def _label(self, label: str) -> str:
        return f"fault {self.mark}:{label}"

    def __str__(self) -> str:
        return ", ".join(map(str, self.faults))
