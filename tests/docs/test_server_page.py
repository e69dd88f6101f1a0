"""Every command of ``docs/server.md`` is run. A server that it starts prints what the page shows, and is stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from tests.cli.conftest import conversation
from tests.docs.snippets import REPOSITORY, Block, Page, difference, matches
from tests.docs.test_pages import folder  # noqa: F401 - a fixture

_PROGRAM = """#!{python} -IS
# Stands for a program in another language, in which nothing of Aquila is. It asks what the cassette has.
import json, os, urllib.request
body = {{"model": "gpt-4.1-mini", "messages": [{{"role": "user", "content": "hi"}}], "stream": False}}
headers = {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
urllib.request.urlopen(request, timeout=60).read()
"""


class ServerPage(Page):
    """A page whose servers run until they have printed their address."""

    def __init__(self, path: Path, folder: Path) -> None:  # noqa: F811
        super().__init__(path, folder)
        self.shown_folder = "/home/me/shop"
        self.servers = 0
        answered = Cassette.from_interactions([conversation("hi", "Hello!")])
        cassette_files.save_cassette(folder / "cassettes" / "test_front" / "test_the_shop_front.yaml", answered)
        program = folder / "bin" / "node"
        program.parent.mkdir()
        program.write_text(_PROGRAM.format(python=sys.executable))
        program.chmod(0o755)

    def _environment(self) -> dict[str, str]:
        kept = super()._environment()
        return {**kept, "PATH": os.pathsep.join((str(self.folder / "bin"), kept["PATH"])), "PYTHONUNBUFFERED": "1"}

    def _run(self, block: Block, command: str, expected: list[str]) -> None:
        if not command.startswith("aquila serve"):
            super()._run(block, command, expected)
            return
        said = self._run_until_it_listens(command, len(expected))
        assert matches(expected, said), f"line {block.line}: $ {command}\n{difference(expected, said)}"
        self.ran += 1
        self.servers += 1

    def _run_until_it_listens(self, command: str, lines: int) -> str:
        server = subprocess.Popen(
            [*command.split(), "--port", "0"],
            cwd=self.folder,
            # The page shows the token where a server has a key that it could open.
            env=self._environment() | ({"OPENAI_API_KEY": "sk-1"} if lines > 1 else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert server.stdout is not None
            said = "".join(server.stdout.readline() for _ in range(lines))
            address = re.search(r"https?://[0-9.:]+", said)
            assert address is not None, said
            httpx2.get(f"{address[0]}/_aquila/health", verify=False, timeout=60).raise_for_status()
        finally:
            server.terminate()
            server.wait(60)
            assert server.stdout is not None
            server.stdout.close()
        said = re.sub(r"aquila-token-\w+", "aquila-token-5f0c...", said)
        said = re.sub(r"(127\.0\.0\.1):[0-9]+", r"\1:8377", said)
        return said.replace(str(self.folder), self.shown_folder)


@pytest.mark.slow
def test_every_command_does_what_the_page_says(folder: Path) -> None:  # noqa: F811
    page = ServerPage(REPOSITORY / "docs" / "server.md", folder)
    page.execute()
    assert page.servers == 4
