"""Paired measurements: the compared subjects run in turns in one process, and the ratio of their times counts.

Times differ from machine to machine and from minute to minute. The ratio of two subjects that run right after each
other differs little. So a round runs each subject once, in an order that changes with the round. The result of a
comparison is the median of the rounds' ratios. The clock is the CPU time of the process, which other programs disturb
least. If waiting matters, pass ``clock=time.perf_counter``.

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
"""Whether a few rounds suffice (``--quick``). They show that a benchmark works; their figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds of one operation: for each subject, a value for each round."""

    rounds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """The median time of a subject, in seconds."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, base: str) -> float:
        """The time of a subject in times of ``base``: the median of the rounds' ratios."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return statistics.median([mine / other for mine, other in pairs])

    def difference(self, name: str, base: str) -> float:
        """The seconds that a subject took more than ``base``: the median of the rounds' differences."""
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
    clock: Callable[[], float] = time.process_time,
    within: Mapping[str, Callable[[], contextlib.AbstractContextManager[object]]] | None = None,
) -> Times:
    """Time callables against one another.

    A round times ``number`` calls of each subject. Before that, all living objects are hidden from the garbage
    collector, so that it visits only the objects of the subject. ``warm`` rounds are not counted. ``within`` has
    functions that make context managers, by subject. The calls run within such a context manager, whose own time is
    not counted: some subjects patch modules that others use.
    """
    [times] = paired_clocks(subjects, (clock,), rounds=rounds, number=number, warm=warm, within=within)
    return times


def paired_clocks(
    subjects: Mapping[str, Callable[[], object]],
    clocks: Sequence[Callable[[], float]],
    *,
    rounds: int = 31,
    number: int = 1,
    warm: int = 2,
    within: Mapping[str, Callable[[], contextlib.AbstractContextManager[object]]] | None = None,
) -> list[Times]:
    """Like ``paired``, with several clocks that are read around the same calls. Returns the times of each clock."""
    around = within or {}
    if QUICK:
        rounds, number, warm = min(rounds, 5), max(1, number // 5), 1
    names = list(subjects)
    taken: list[dict[str, list[float]]] = [{name: [] for name in names} for _ in clocks]
    for turn in range(-warm, rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            with around.get(name, contextlib.nullcontext)():
                all_seconds = _timed(subjects[name], number, clocks)
            if turn >= 0:
                for times, seconds in zip(taken, all_seconds, strict=True):
                    times[name].append(seconds / number)
    return list(map(Times, taken))


def _timed(subject: Callable[[], object], number: int, clocks: Sequence[Callable[[], float]]) -> list[float]:
    with quiet_collector():
        starts = [clock() for clock in clocks]
        for _ in range(number):
            subject()
        ends = [clock() for clock in clocks]
    return [end - start for start, end in zip(starts, ends, strict=True)]


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Collect all garbage, and hide all living objects from the garbage collector until the block ends."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(slots=True)
class Report:
    """Prints tables, notes, and whether the aims are met. ``missed`` has the missed aims."""

    missed: list[str] = field(default_factory=list)

    def heading(self, title: str) -> None:
        """Print the heading of a part."""
        print(f"\n## {title}\n", flush=True)

    def note(self, text: str) -> None:
        """Print a note about the figures."""
        print(f"{text}\n", flush=True)

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a Markdown table with padded cells. The first column is aligned left, the others right."""
        cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        for line in (cells[0], rule, *cells[1:]):
            padded = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]  # noqa: B905
            print(f"| {' | '.join(padded)} |")
        print(flush=True)

    def table(self, title: str, times: Times, *, base: str) -> None:
        """Print the times of a comparison, and their ratios to the subject ``base``."""
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
        """Print a figure and its aim. Note the aim in ``missed`` if the figure does not meet it."""
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        bound = f"at most {at_most:g}" if at_most is not None else f"at least {at_least:g}"
        verdict = "met" if met else "MISSED"
        print(f"- {what}: {value:.3g} {unit} (aim: {bound} {unit}): {verdict}", flush=True)
        if not met:
            self.missed.append(what)


def duration(seconds: float) -> str:
    """Return a time with three digits and a unit: 12.3 ms."""
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * scale >= 1 or unit == "µs":
            return f"{seconds * scale:.3g} {unit}"
    raise AssertionError


def size(count: float) -> str:
    """Return a number of bytes with three digits and a unit: 12.3 KB."""
    for unit in ("B", "KB", "MB"):
        if count < 1000 or unit == "MB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def environment(**changes: str) -> dict[str, str]:
    """Return the environment for measured processes, with ``changes``.

    It lacks ``PYTHONDONTWRITEBYTECODE``, which some shells and containers set. With it, each process would compile
    every module again.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONHASHSEED": "0", **changes}


def in_process(code: str, *arguments: str) -> object:
    """Run Python code in a process of its own. Returns the last line that it prints, parsed as JSON."""
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
