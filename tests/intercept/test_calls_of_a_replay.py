"""A replayed request stays cheap: the functions of Aquila that it calls are counted, the same on every machine."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import httpx2
import pytest

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette

URL = "https://api.openai.com/v1/chat/completions"
HEADERS = (("accept", "*/*"), ("content-type", "application/json"))
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
SOURCES = str(Path(aquila.__file__).parent) + os.sep


@pytest.mark.parametrize(("library", "most"), [(httpx2, 62), (httpx, 71)], ids=["httpx2", "httpx"])
def test_a_replayed_request_calls_few_functions(library: Any, most: int, root: Path) -> None:
    answer = RecordedResponse(200, (("content-type", "application/json"),), (RecordedChunk(b"{}"),))
    recorded = Interaction(RecordedRequest("POST", URL, HEADERS, BODY), answer)
    save_cassette(root / "x.yaml", Cassette.from_interactions([recorded]))
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCES):
            called[f"{frame.f_code.co_filename.removeprefix(SOURCES)}: {frame.f_code.co_name}"] += 1

    with aquila.use_cassette("x", repeat="last"), library.Client() as client:
        request = client.build_request("POST", URL, content=BODY, headers={"content-type": "application/json"})
        client.send(request)  # what the first one loads and looks up is not counted
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            client.send(request)
        finally:
            sys.setprofile(before)
    # Each takes about two thousand instructions, and a whole call of the openai SDK three thousand such calls.
    assert called.total() <= most, called.most_common()
    assert called.total() > most // 2  # else nothing was counted
