"""Renders the templates, with filters that write numbers and times.

Everything is escaped. Times are written in UTC, and ``jobs.js`` turns them into "12 s ago".
"""

from __future__ import annotations

import functools
import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aquila.optional import import_optional
from aquila.prices import write_amount

HERE = Path(__file__).parent
_TAIL = 66
_LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()
"""The last second of the year 9999. A job that is due at ``datetime.max`` is stored with a float, rounded up."""


def render_template(template: str, **values: Any) -> str:
    """Return a template as HTML, with some values."""
    text: str = _environment().get_template(template).render(**values)
    # Escapes in JSON, such as that of a model, may name lone surrogates, which cannot be sent.
    return text.encode("utf-8", "replace").decode()


# Made for the first page, and kept for as long as the process lives: it has the compiled templates.
@functools.cache
def _environment() -> Any:
    jinja2 = import_optional("jinja2", "jobs", purpose="the page of jobs")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clock=write_clock, iso=write_iso, seconds=write_seconds, number=write_number, short_name=shorten_name,
        short_id=shorten_id, tail=shorten_tail, money=write_money,
    )  # fmt: skip
    environment.globals.update(version=_version_of_static(), bars=lay_out_bars, clock=time.time)
    return environment


def _version_of_static() -> str:
    """Return a digest of the static files. It is part of their URLs, so that browsers load changed files again."""
    content = b"".join(path.read_bytes() for path in sorted((HERE / "static").iterdir()))
    return hashlib.sha256(content).hexdigest()[:12]


def write_clock(at: float) -> str:
    """Return a time, in seconds since the epoch, as date and time of day in UTC."""
    return _moment_of(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def write_iso(at: float) -> str:
    """Return a time, in seconds since the epoch, in the form that the element ``<time>`` of HTML takes."""
    return _moment_of(at).isoformat(timespec="milliseconds")


def _moment_of(at: float) -> datetime:
    return datetime.fromtimestamp(min(at, _LATEST), UTC)


def write_seconds(seconds: float) -> str:
    """Return a duration, given in seconds, as people read it."""
    if seconds < 0.0005:
        return "0 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def write_number(number: float) -> str:
    """Return a number with separators between its thousands."""
    return f"{number:,.0f}"


def write_money(cost: float) -> str:
    """Return an amount of money, with more digits for a small one."""
    return write_amount(cost) if cost < 1 else f"{cost:,.2f}"


def shorten_name(name: str) -> str:
    """Return the last part of a task's name."""
    return name.rpartition(".")[2] or name


def shorten_id(job: str) -> str:
    """Return the first eight characters of an id."""
    return job[:8]


def shorten_tail(text: str) -> str:
    """Return the last words of a text: those that are new in an answer which still arrives."""
    words = " ".join(text.split())
    return words if len(words) <= _TAIL else f"… {words[-_TAIL:].partition(' ')[2]}"


def lay_out_bars(done: list[int], failed: list[int], height: int) -> list[dict[str, float]]:
    """Return the bars of a chart of ``height`` pixels: for each minute their position and their heights."""
    most = max([1, *(one + other for one, other in zip(done, failed, strict=True))])
    bars = []
    for at, (one, other) in enumerate(zip(done, failed, strict=True)):
        high, low = (max(1.5, height * one / most) if one else 0.0), (max(1.5, height * other / most) if other else 0.0)
        bars.append({
            "x": at * 5, "done": round(high, 2), "done_y": round(height - high - low, 2),
            "failed": round(low, 2), "failed_y": round(height - low, 2),
        })  # fmt: skip
    return bars
