"""A project with a cassette folder, and the command run in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files
from aquila.cli import main


def conversation(question: str, answer: str, *, model: str = "gpt-4.1-mini", chunks: int = 1) -> Interaction:
    """A chat completion. It is a stream if it has several chunks."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], "stream": chunks > 1}
    request = RecordedRequest(
        "POST",
        "https://api.openai.com/v1/chat/completions",
        (("content-type", "application/json"),),
        json.dumps(body, separators=(",", ":")).encode(),
    )
    if chunks == 1:
        message = {"role": "assistant", "content": answer}
        data = json.dumps({"choices": [{"index": 0, "message": message}], "usage": {"total_tokens": 7}})
        pieces, kind = (RecordedChunk(data.encode(), 40),), "application/json"
    else:
        step = -(-len(answer) // chunks)
        parts = [answer[at : at + step] for at in range(0, len(answer), step)]
        deltas = [json.dumps({"choices": [{"index": 0, "delta": {"content": part}}]}) for part in parts]
        events = [f"data: {delta}\n\n".encode() for delta in [*deltas, "[DONE]"]]
        pieces = tuple(RecordedChunk(event, 40 + at) for at, event in enumerate(events))
        kind = "Text/Event-Stream; charset=utf-8"  # media types have no case
    response = RecordedResponse(200, (("content-type", kind),), pieces, started=39, ended=pieces[-1].at)
    return Interaction(request, response, "2026-11-24T12:00:00Z")


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The standard output, parsed as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Cassettes:
    """The project's cassette folder."""

    folder: Path
    run: Callable[..., Done]

    def write(self, name: str, *interactions: Interaction) -> Path:
        """Write a cassette file."""
        path = self.folder / name
        cassette_files.save_cassette(path, Cassette.from_interactions(interactions))
        return path

    def read(self, name: str) -> Cassette:
        """Read a cassette file."""
        return cassette_files.load_cassette(self.folder / name)


@pytest.fixture
def cassettes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cassettes:
    """A project in an empty folder, which is the working directory. ``run`` runs ``aquila cassettes ...`` in it."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "cassettes").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQUILA_CASSETTE_DIR", raising=False)

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = main(["cassettes", *words])
        return Done(code, *capsys.readouterr())

    return Cassettes(tmp_path / "cassettes", run)
