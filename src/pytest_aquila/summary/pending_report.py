"""News about the pending recordings beside the cassettes of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple
from aquila.recording import runtime
from aquila.recording.storing.pending_files import accept_command, find_all_pending_files, shown_path

if TYPE_CHECKING:
    from pytest_aquila.summary import run_news
    from pytest_aquila.summary.run_news import News, NewsKind
    from pytest_aquila.summary.run_totals import RunTotals
else:
    lazy_modules(globals(), "pytest_aquila.summary: run_news")


class PendingFile(NamedTuple):
    """A pending file. ``is_new`` says that this run has written it; ``root`` is its cassette folder."""

    path: Path
    root: Path
    is_new: bool


def find_pending(totals: RunTotals) -> list[PendingFile]:
    """Return the pending files beside the cassettes that the run has used, those that it has written first."""
    # A test that was run again and passed has removed its pending file.
    written = {Path(path): Path(root) for root, path in totals.pending if Path(path).exists()}
    found = {path: PendingFile(path, root, is_new=True) for path, root in written.items()}
    roots = {root: Path(root) for root in {root for root, _ in totals.cassettes}}
    used = [(roots[root], name) for root, name in sorted(set(totals.cassettes))]
    for folder, path in find_all_pending_files(used):
        found.setdefault(path, PendingFile(path, folder, is_new=False))
    return list(found.values())


def describe_pending(waiting: Sequence[PendingFile]) -> Iterator[News]:
    """Yield the news about the pending files that this run has written, and about all others."""
    settings = runtime.current_settings()
    new, old = [each for each in waiting if each.is_new], [each for each in waiting if not each.is_new]
    usual = settings.cassette_root()
    if new and settings.transport == "record" and settings.record == "pending":
        yield _about_files(run_news.NewsKind.FOR_REVIEW, "recorded for a review, beside the cassettes", new, usual)
    elif len(new) == 1:
        text = "the test did not pass, so nothing in its cassette was replaced; what was recorded is kept"
        yield _about_files(run_news.NewsKind.KEPT_BESIDE, text, new, usual)
    elif new:
        text = f"tests did not pass, so nothing in {len(new):,} cassettes was replaced; the recordings are kept"
        yield _about_files(run_news.NewsKind.KEPT_BESIDE, text, new, usual)
    if old:
        runs = "an earlier run wait" if len(old) == 1 else "earlier runs wait"
        yield _about_files(run_news.NewsKind.WAITS_SINCE_BEFORE, f"recordings of {runs}", old, usual)


def describe_superseded(totals: RunTotals) -> Iterator[News]:
    """Yield the news about pending files of earlier runs that are gone, because this run has recorded all of it."""
    written = {path for _, path in totals.pending}  # by a failing attempt of a test that passed in its next
    gone = [path for path in dict.fromkeys(totals.superseded) if path not in written]
    if gone:
        names = [str(shown_path(Path(path))) for path in gone]
        yield run_news.News(run_news.NewsKind.SUPERSEDED, "recorded anew, so these recordings wait no longer", names)


def _about_files(kind: NewsKind, text: str, files: Sequence[PendingFile], usual: Path) -> News:
    """Return news that names pending files, with the command that accepts or reviews them."""
    one, verb = files[0], "review" if kind is run_news.NewsKind.FOR_REVIEW else "accept"
    command = f"aquila cassettes {verb}"
    if len(files) == 1:
        command = accept_command(one.path, one.root, usual_root=usual, verb=verb)
    return run_news.News(kind, text, [str(shown_path(each.path)) for each in files], command)
