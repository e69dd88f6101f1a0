"""Paired measurements: everything that is compared runs in one process, in turns, and what counts is the ratio.

Times differ from machine to machine and from minute to minute; the ratio of two things that ran right after each other
differs little. So a round runs each subject once, in an order that turns with the round, and the result of a
comparison is the median of the rounds' ratios. The clock is that of the process's own CPU time, which other programs on
the machine disturb least; where waiting is part of the matter, ``clock=time.perf_counter`` says so.

A benchmark is a module of this package with ``run(report)``; ``python -m benchmarks`` finds it::

    def run(report: Report) -> None:
        times = paired({"floor": on_a_mock, "aquila": replayed}, number=20)
        report.table("One replayed call", times, base="floor")
        report.aim("one replayed call", times.ratio("aquila", "floor"), at_most=1.05, unit="x")

    if __name__ == "__main__":
        main(run)
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

QUICK = bool(os.environ.get("AQUILA_BENCH_QUICK"))
"""Whether a few rounds suffice (``--quick``): to see that a benchmark works, not to quote its figures."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds per operation, for each subject a value for each round."""

    rounds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """The median time of a subject, in seconds."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, base: str) -> float:
        """How many times as long as ``base`` a subject took: the median of the rounds' ratios."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return statistics.median([mine / other for mine, other in pairs])

    def difference(self, name: str, base: str) -> float:
        """How much longer than ``base`` a subject took, in seconds: the median of the rounds' differences."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return statistics.median([mine - other for mine, other in pairs])

    def spread(self, name: str, base: str) -> float:
        """Half the distance between the quartiles of the rounds' ratios."""
        ratios = [mine / other for mine, other in zip(self.rounds[name], self.rounds[base], strict=True)]
        if len(ratios) < 4:
            return 0.0
        low, _, high = statistics.quantiles(ratios, n=4)
        return (high - low) / 2


def paired(
    subjects: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 31,
    number: int = 1,
    warm: int = 2,
    collector: bool = True,
    clock: Callable[[], float] = time.process_time,
    within: Mapping[str, Callable[[], contextlib.AbstractContextManager[object]]] | None = None,
) -> Times:
    """Time callables against one another.

    A round times ``number`` calls of each subject. Before each of these everything that lives already is put out of
    the garbage collector's sight, so that it counts only what the subject itself makes; ``collector=False`` turns it
    off. ``warm`` rounds are not counted. ``within`` makes, by subject, a context manager that is entered before the
    time is taken and left after it: some subjects patch what others use.
    """
    clocks = (clock,)
    return paired_clocks(subjects, clocks, rounds=rounds, number=number, warm=warm, collector=collector, within=within)[
        0
    ]


def paired_clocks(
    subjects: Mapping[str, Callable[[], object]],
    clocks: Sequence[Callable[[], float]],
    *,
    rounds: int = 31,
    number: int = 1,
    warm: int = 2,
    collector: bool = True,
    within: Mapping[str, Callable[[], contextlib.AbstractContextManager[object]]] | None = None,
) -> list[Times]:
    """``paired`` by several clocks, which are read around the same calls. Return the times of each."""
    around = within or {}
    if QUICK:
        rounds, number, warm = min(rounds, 5), max(1, number // 5), 1
    names = list(subjects)
    taken: list[dict[str, list[float]]] = [{name: [] for name in names} for _ in clocks]
    for turn in range(-warm, rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            with around.get(name, contextlib.nullcontext)():
                all_seconds = _timed(subjects[name], number, collector, clocks)
            if turn >= 0:
                for times, seconds in zip(taken, all_seconds, strict=True):
                    times[name].append(seconds / number)
    return list(map(Times, taken))


def _timed(
    subject: Callable[[], object], number: int, collector: bool, clocks: Sequence[Callable[[], float]]
) -> list[float]:
    with quiet_collector(enabled=collector):
        starts = [clock() for clock in clocks]
        for _ in range(number):
            subject()
        ends = [clock() for clock in clocks]
    return [end - start for start, end in zip(starts, ends, strict=True)]


@contextlib.contextmanager
def quiet_collector(*, enabled: bool) -> Iterator[None]:
    """The garbage collector freshly run, with nothing old left to look at."""
    gc.collect()
    gc.freeze()
    if not enabled:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@dataclass(slots=True)
class Report:
    """What a benchmark prints: tables, notes, and whether the aims are met."""

    missed: list[str] = field(default_factory=list)

    def heading(self, title: str) -> None:
        """Begin a part."""
        print(f"\n## {title}\n", flush=True)

    def note(self, text: str) -> None:
        """Say something about the figures."""
        print(f"{text}\n", flush=True)

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table: Markdown that reads well as it stands. The first column is aligned to the left."""
        cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        for line in (cells[0], rule, *cells[1:]):
            padded = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]  # noqa: B905
            print(f"| {' | '.join(padded)} |")
        print(flush=True)

    def table(self, title: str, times: Times, *, base: str) -> None:
        """Print the times of a comparison, and how they relate to those of the subject ``base``."""
        self.heading(title)
        rows = [
            (
                name,
                duration(times.median(name)),
                f"{times.ratio(name, base):.3f} x",
                f"± {times.spread(name, base):.3f}",
            )
            for name in times.rounds
        ]
        self.rows(("", "median", f"of {base}", "quartiles"), rows)

    def aim(
        self, what: str, value: float, *, at_most: float | None = None, at_least: float | None = None, unit: str = ""
    ) -> None:
        """Say whether a figure is where it should be."""
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        bound = f"at most {at_most:g}" if at_most is not None else f"at least {at_least:g}"
        verdict = "met" if met else "MISSED"
        print(f"- {what}: {value:.3g} {unit} (aim: {bound} {unit}): {verdict}", flush=True)
        if not met:
            self.missed.append(what)


def duration(seconds: float) -> str:
    """A time for people, with three digits: 12.3 ms."""
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * scale >= 1 or unit == "µs":
            return f"{seconds * scale:.3g} {unit}"
    raise AssertionError


def size(count: float) -> str:
    """A number of bytes for people: 12.3 KB."""
    for unit in ("B", "KB", "MB"):
        if count < 1000 or unit == "MB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def environment(**changes: str) -> dict[str, str]:
    """The environment for processes that are measured.

    Without ``PYTHONDONTWRITEBYTECODE``, which some shells and containers set: with it, every module is compiled again
    in every process.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONHASHSEED": "0", **changes}


def in_process(code: str, *arguments: str) -> object:
    """Run Python code in a process of its own and return what it prints last, read as JSON: for memory and imports."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main(run: Callable[[Report], None]) -> None:
    """Run one benchmark. Ends the process with 1 if it missed an aim and ``AQUILA_BENCH_STRICT`` is set."""
    report = Report()
    run(report)
    if report.missed and os.environ.get("AQUILA_BENCH_STRICT"):
        sys.exit(1)
