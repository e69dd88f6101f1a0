"""Finds where the recordings of a scope are stored: their numbers in a cassette, and the files of large bodies."""

from __future__ import annotations

from pathlib import Path

from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.large_bodies import bodies_folder, locate_bodies
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks
from aquila.errors import AquilaError
from aquila.recording.sessions.session import Session


class StoredPlaces:
    """Finds the numbers of recordings for one scope, each once. It lives while what the scope has noted is read."""

    def __init__(self) -> None:
        self._held: dict[int, dict[int, int]] = {}
        self._stored: dict[Path, list[Interaction | None]] = {}

    def find_held(self, session: Session, interaction: Interaction) -> int | None:
        """Return the number, from 1, of a recording that a session holds; a faulted copy is found by its request."""
        numbers = self._held.get(id(session))
        if numbers is None:
            numbers = self._held[id(session)] = {}
            for number, each in enumerate(session.cassette.interactions, 1):
                numbers[id(each)] = number
                numbers.setdefault(id(each.request), number)
        return numbers.get(id(interaction)) or numbers.get(id(interaction.request))

    def find_stored(self, path: Path | None, interaction: Interaction) -> int | None:
        """Return the number, from 1, of an equal recording in a file, or None."""
        if path is None:
            return None
        if path not in self._stored:
            try:
                self._stored[path] = list(load_cassette(path).interactions) if path.exists() else []
            except (AquilaError, OSError):
                self._stored[path] = []
        stored = self._stored[path]
        for at, each in enumerate(stored):
            if each is not None and each.request == interaction.request and each.recorded == interaction.recorded:
                stored[at] = None
                return at + 1
        return None


def with_stored_bodies(recording: Interaction, path: Path | None) -> Interaction:
    """Return a new recording with the present paths of its large bodies, which have moved from journal to cassette."""
    request, chunks = recording.request, recording.response.chunks
    files = chunks.files() if isinstance(chunks, SoundChunks) else []
    files += [part.file for part in (request, chunks) if isinstance(part, StoredRequest | StoredChunks)]
    if path is None or all(file.path.exists() for file in files):
        return recording
    return locate_bodies(Cassette((recording,)), bodies_folder(path)).interactions[0]
