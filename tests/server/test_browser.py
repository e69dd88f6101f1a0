"""What a page of a stranger can do, in a real browser: nothing. Each request arrives, and is refused."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquila.server.access_log import RequestLog
from tests.server.conftest import Serve
from tests.support.upstream import Answer, Upstream, upstream

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><title>a page</title><body><iframe name=there></iframe>
<form id=form method=post action="SERVER/v1/by-form" target=there enctype=text/plain>
<input name='{"a"' value='1}'></form>
<script>
const simple = {method: "POST", mode: "no-cors", body: '{"model": "m"}'};
const json = {method: "POST", body: "{}", headers: {"content-type": "application/json", "authorization": "Bearer x"}};
form.submit();
new Image().src = "SERVER/v1/by-image";
document.body.append(Object.assign(document.createElement("script"), {src: "SERVER/v1/by-script"}));
navigator.sendBeacon("SERVER/v1/by-beacon", "{}");
new WebSocket("SERVER/v1/by-socket".replace("http", "ws"));
fetch("SERVER/v1/by-simple-fetch", simple).catch(() => 0);
fetch("SERVER/_aquila/reset", simple).catch(() => 0);
fetch("SERVER/v1/by-fetch", json).catch(() => 0);
fetch("SERVER/v1/by-get").catch(() => 0);
</script>"""
ARRIVING = {
    *("by-form", "by-image", "by-script", "by-beacon", "by-socket", "by-simple-fetch", "by-fetch", "by-get"),
    "reset",
}


@pytest.fixture
def stranger() -> Iterator[Upstream]:
    with upstream(lambda path, body: Answer()) as running:
        yield running


def browse(url: str, profile: Path, ended: threading.Event) -> None:
    """Open a page until ``ended``, in a browser that finds every name on this machine."""
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("chromium is not installed")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    names = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with subprocess.Popen(
        [command, *options, names, "--remote-debugging-port=0", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as browser:
        try:
            assert ended.wait(60), "the browser sent less than expected"
        finally:
            browser.kill()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost"])
def test_a_page_of_another_origin_reaches_nothing(
    host: str, serve: Serve, provider: Upstream, stranger: Upstream, root: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    all_arrived = threading.Event()

    def note(line: str) -> None:
        lines.append(line)
        if {line.split()[1].rpartition("/")[2] for line in lines} >= ARRIVING:
            all_arrived.set()

    with serve(record="all", key="the-real-key", log=RequestLog(str, note)) as running:
        page = PAGE.replace("SERVER", running.url).encode()
        stranger.script = lambda path, body: Answer(headers={"content-type": "text/html"}, chunks=[page])
        browse(stranger.url.replace("127.0.0.1", host) + "/page", tmp_path / "profile", all_arrived)
    assert {" ".join(line.split()[2:4]) for line in lines} == {"403 refused"}
    assert provider.requests == []
    assert not (root / "x.yaml").exists()


def test_a_page_whose_name_leads_here_reaches_nothing(serve: Serve, provider: Upstream, tmp_path: Path) -> None:
    lines: list[str] = []
    arrived = threading.Event()

    def note(line: str) -> None:
        lines.append(line)
        arrived.set()

    with serve(record="all", key="the-real-key", log=RequestLog(str, note)) as running:
        url = running.url.replace("127.0.0.1", "rebound.example")
        browse(f"{url}/v1/models", tmp_path / "profile", arrived)
    assert {" ".join(line.split()[2:4]) for line in lines} == {"403 refused"}
    assert provider.requests == []
