"""The recordings that wait beside the cassettes of a run, as its last lines name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aquila.recording import runtime
from aquila.recording.pending_files import accept_command, find_pending_files, shown_path

if TYPE_CHECKING:
    from pytest_aquila.reporting import Totals

_MOST_NAMES = 5


class WaitingFile(NamedTuple):
    """A pending file. ``is_new`` says that this run has written it; ``root`` is its cassette folder."""

    path: Path
    root: Path
    is_new: bool


def find_pending(totals: Totals) -> list[WaitingFile]:
    """Return the pending files beside the cassettes that the run has used, those that it has written first."""
    # A test that was run again and passed has taken its pending file away.
    written = {Path(path): Path(root) for root, path in totals.pending if Path(path).exists()}
    found = {path: WaitingFile(path, root, is_new=True) for path, root in written.items()}
    for root, name in sorted(set(totals.cassettes)):
        for path in find_pending_files(Path(root), name):
            found.setdefault(path, WaitingFile(path, Path(root), is_new=False))
    return list(found.values())


def describe_pending(waiting: Sequence[WaitingFile]) -> Iterator[str]:
    """Yield a line for each file that this run has written, and one for all others."""
    settings = runtime.current_settings()
    new, old = [each for each in waiting if each.is_new], [each for each in waiting if not each.is_new]
    if settings.transport == "record" and settings.record == "pending":
        if new:
            yield f"recorded for a review, beside the cassettes: {_list_files(new, settings.cassette_root())}"
    else:
        for each in new:
            command = accept_command(each.path, each.root, usual_root=settings.cassette_root())
            yield f"the test failed, so its cassette is as it was; the recording is kept in {each.path} ({command})"
    if old:
        runs = "an earlier run wait" if len(old) == 1 else "earlier runs wait"
        yield f"recordings of {runs} in {_list_files(old, settings.cassette_root())}"


def _list_files(files: Sequence[WaitingFile], usual: Path) -> str:
    """Name some files, and what accepts them."""
    names = ", ".join([str(shown_path(each.path)) for each in files[:_MOST_NAMES]])
    more = f" and {len(files) - _MOST_NAMES} more" if len(files) > _MOST_NAMES else ""
    one = files[0]
    command = accept_command(one.path, one.root, usual_root=usual) if len(files) == 1 else "aquila cassettes accept"
    return f"{names}{more} ({command})"
