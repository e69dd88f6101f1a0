"""The last line of a run: ``aquila: 3 replayed, 0 recorded, 0 missed; saved 2.1 s and 180 tokens``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.plurals import count_of

if TYPE_CHECKING:
    from pytest_aquila.summary.run_totals import RunTotals


def summary_line(totals: RunTotals, pending: int = 0) -> str:
    """Return the last line: replayed, recorded, missed, and ``pending`` files that wait; seconds and tokens saved."""
    line = f"aquila: {totals.replayed} replayed, {totals.recorded} recorded, {totals.missed} missed"
    if totals.scripted:
        line += f", {totals.scripted} scripted"
    if pending:
        line += f", {pending} pending"
    if totals.replayed:
        # An answer need not tell tokens, as those of embeddings and conversations of speech do not.
        line += f"; saved {totals.seconds:.1f} s" + (f" and {totals.tokens:,} tokens" if totals.tokens else "")
    if totals.unstored:
        line += f"; {count_of(len(totals.unstored), 'error')} of storage"
    return line
