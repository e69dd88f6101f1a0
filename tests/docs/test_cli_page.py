"""Every command of ``docs/cli.md`` is run in a project with the files that it mentions, and prints as shown."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage import cassette_files
from tests.cli.conftest import conversation
from tests.docs.snippets import REPOSITORY, Block, Page
from tests.docs.test_pages import folder  # noqa: F401 - a fixture

_OF_VCRPY = """\
interactions:
- request:
    body: '{"model": "gpt-4.1-mini", "messages": []}'
    headers:
      authorization:
      - Bearer eagle-4711-owl-0815
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
    body:
      string: '{"choices": []}'
    headers: {}
    status:
      code: 200
      message: OK
version: 1
"""


def _recorded(
    question: str, answer: str, day: str, *, upstream: str = "live", model: str = "gpt-4.1-mini-2025-04-14"
) -> Interaction:
    return replace(conversation(question, answer), recorded=f"{day}T12:00:00Z", upstream=upstream, model=model)


class CommandPage(Page):
    """A page whose blocks each find the same project anew."""

    def __init__(self, path: Path, folder: Path) -> None:  # noqa: F811
        super().__init__(path, folder)
        self.shown_folder = "/home/me/app"

    def prepare(self, block: Block) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
        (self.folder / "test_web.py").write_text("def test_asks(aquila_cassette): ...\n")
        high = _recorded("How do eagles fly so high up?", "Eagles rise on warm air.", "2026-08-27")
        young = _recorded("How long do they feed the young?", "The young stay for three months.", "2026-11-24")
        shorter = _recorded("How long do they feed their young, in a word?", "Months.", "2026-11-25")
        self._store("cassettes/jobs/summary.yaml", high, young)
        self._store("cassettes/jobs/summary.pending.yaml", high, shorter)
        small = _recorded("Say hi", "Hi!", "2026-11-25", upstream="local", model="smollm2")
        self._store("cassettes/jobs/stream_prompt.yaml", small)
        if "test_chat" in block.text:
            self._store("api/cassettes/test_chat/test_hello.yaml", young)
        if "test_old" in block.text:
            (self.folder / "tests/cassettes").mkdir(parents=True)
            (self.folder / "tests/cassettes/test_old.yaml").write_text(_OF_VCRPY)
        if "scan" in block.text:
            (self.folder / "cassettes/test_login.yaml").write_text(_OF_VCRPY)
            self._store(
                "cassettes/test_echo.yaml", _recorded("Say it", f"Your key is sk-{'aB3dE5gH7j' * 4}", "2026-11-25")
            )
        if "test_web.py::" in block.text:
            for name in ("test_web/test_ask", "web/test_page/test_opens"):
                self._store(f"cassettes/tests/{name}.yaml", young)
        subprocess.run(["git", "init", "-q", str(self.folder)], check=True)

    def _store(self, name: str, *interactions: Interaction) -> None:
        cassette_files.save_cassette(self.folder / name, Cassette.from_interactions(interactions))


@pytest.mark.slow
def test_every_command_does_what_the_page_says(folder: Path) -> None:  # noqa: F811
    page = CommandPage(REPOSITORY / "docs" / "cli.md", folder)
    page.execute()
    assert page.ran > 15
