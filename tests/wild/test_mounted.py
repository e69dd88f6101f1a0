"""The page of jobs in applications of FastAPI and Django, served by uvicorn and Hypercorn. `make test-wild` runs it.

The servers are real, and each in a process of its own. What a browser would send goes over a real connection.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from aquila.huey.live.page.access import FORM_COOKIE
from aquila.huey.live.pausing import is_paused, resume_queue
from tests.support.process_groups import process_group

_FILES = Path(__file__).parent / "mounted"
_TOKEN = "a-token-that-nobody-knows"
_PATIENCE = 60.0
_LINKS = re.compile(r'(?:href|src|action|data-live)="([^"#]+)')
SERVERS: dict[str, Callable[[int], list[str]]] = {
    "uvicorn": lambda bound: ["uvicorn", "--fd", str(bound), "--timeout-graceful-shutdown", "1"],
    "hypercorn": lambda bound: ["hypercorn", "--bind", f"fd://{bound}", "--graceful-timeout", "1"],
}
APPLICATIONS = ("fastapi", "django")


class Served:
    """An application that is served: its process, its folder, a client of it, and the queue that it shows."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, client: httpx2.Client, jobs: Any) -> None:
        self.process = process
        self.folder = folder
        self.client = client
        self.jobs = jobs
        self.origin = {"origin": str(client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}

    def run_job(self, topic: str) -> str:
        """Run a job in this process, which is not that of the server. Returns its id."""
        result = self.jobs.write_article(topic)
        self.jobs.huey.execute(self.jobs.huey.dequeue())
        self.jobs.huey.publisher.store.flush()
        return str(result.id)

    def sign_in(self) -> None:
        """Do as somebody who has the token does in a browser."""
        form = form_of(self.client.get("/jobs/sign-in"))
        answer = self.client.post("/jobs/sign-in", data={"form": form, "token": _TOKEN}, headers=self.origin)
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/")

    def pause(self, *, form: str | None, headers: dict[str, str]) -> httpx2.Response:
        """Send the form that pauses the queue."""
        data = {"queue": "articles", "action": "pause", **({} if form is None else {"form": form})}
        return self.client.post("/jobs/act", data=data, headers=headers)


def form_of(page: httpx2.Response) -> str:
    """The hidden value of the forms of a page."""
    found = re.search(r'name="form" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


@contextlib.contextmanager
def serve(application: str, server: str, folder: Path, *more_options: str) -> Iterator[Served]:
    """Serve an application, and end the server."""
    for file in _FILES.glob("*.py"):
        shutil.copy(file, folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILA_", "PYTEST_"))}
    environment |= {"JOBS_DB": str(folder / "queue.db"), "AQUILA_JOBS_TOKEN": _TOKEN, "PYTHONPATH": str(folder)}
    with contextlib.ExitStack() as until_the_end:
        with socket.create_server(("127.0.0.1", 0)) as bound, (folder / "server.log").open("wb") as log:
            name, *options = SERVERS[server](bound.fileno())
            command = [sys.executable, "-m", name, f"{application}_application:application", *options, *more_options]
            streams = {"stdout": log, "stderr": subprocess.STDOUT}
            running = process_group(command, cwd=folder, env=environment, pass_fds=[bound.fileno()], **streams)
            process = until_the_end.enter_context(running)  # Hypercorn serves in a process that it starts
            address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        client = httpx2.Client(base_url=address, timeout=_PATIENCE, trust_env=False)
        yield Served(process, folder, until_the_end.enter_context(client), import_jobs(folder))


def import_jobs(folder: Path) -> Any:
    """The module of the queue, in this process."""
    os.environ["JOBS_DB"] = str(folder / "queue.db")
    sys.modules.pop("jobs", None)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("jobs")
    finally:
        sys.path.remove(str(folder))
        del os.environ["JOBS_DB"]


@pytest.fixture(
    scope="module", params=[(application, server) for application in APPLICATIONS for server in SERVERS], ids="-".join
)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Each application under each server, started once for all tests."""
    with serve(*request.param, tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    """The same for somebody who has not been there before, with a queue that is not paused."""
    with httpx2.Client(base_url=running.client.base_url, timeout=_PATIENCE, trust_env=False) as client:
        yield Served(running.process, running.folder, client, running.jobs)
    resume_queue(running.jobs.huey)


def test_pages_lead_to_pages_below_the_path_where_they_are_mounted(served: Served) -> None:
    job = served.run_job("eagles")
    assert "the application itself" in served.client.get("/").text
    overview, own_page = "/jobs/", f"/jobs/job?queue=articles&id={job}"
    seen, left = set(), [overview, own_page]
    while left:
        address = left.pop()
        page = served.client.get(address)
        assert page.status_code == 200, address
        assert job in page.text or address not in (overview, own_page)
        seen.add(address)
        if "text/html" not in page.headers["content-type"]:
            continue
        links = {link.replace("&amp;", "&") for link in _LINKS.findall(page.text)}
        assert all(link.startswith("/jobs/") for link in links), links
        left += [link for link in links - seen - set(left) if "/live" not in link and link != "/jobs/act"]
    paths = {address.partition("?")[0] for address in seen}
    assert paths >= {"/jobs/", "/jobs/job", "/jobs/sign-in"}
    assert {Path(path).suffix for path in paths} >= {".js", ".css"}


def test_a_page_is_told_what_happens_as_it_happens(served: Served) -> None:
    with served.client.stream("GET", "/jobs/live?queue=articles") as overview:
        assert overview.headers["content-type"].startswith("text/event-stream")
        lines = overview.iter_lines()
        job = served.run_job("owls")
        told = next(json.loads(line[6:]) for line in lines if line.startswith("data: ") and job in line)
        assert 'href="/jobs/job?' in told
    with served.client.stream("GET", f"/jobs/job/live?queue=articles&id={job}") as stream:
        assert any("write_article" in line or "done" in line for line in stream.iter_lines())


def test_those_act_who_show_the_token_and_no_others(served: Served) -> None:
    page = served.client.get("/jobs/")
    form, own = page.cookies.get(FORM_COOKIE) or "", served.origin
    assert served.pause(form=form, headers=own).status_code == 403  # nobody has signed in
    served.sign_in()
    form = form_of(served.client.get("/jobs/"))
    foreign = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    assert served.pause(form=form, headers=foreign).status_code == 403
    assert served.pause(form="0" * 43, headers=own).status_code == 403
    assert served.pause(form=None, headers=own).status_code == 403
    assert served.client.get("/jobs/", headers={"host": "elsewhere.example"}).status_code in (400, 403, 421)
    assert not is_paused(served.jobs.huey)
    answer = served.pause(form=form, headers=own)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/?queue=articles")
    assert served.client.get(answer.headers["location"]).status_code == 200
    assert is_paused(served.jobs.huey)


def test_a_program_acts_by_the_token_in_a_header(served: Served) -> None:
    job = served.run_job("terns")
    data = {"queue": "articles", "action": "delete", "id": job}
    for token, status in (("another-token-of-16", 403), (_TOKEN, 303)):
        answer = served.client.post("/jobs/act", data=data, headers={"x-aquila-token": token})
        assert answer.status_code == status
    assert served.client.get(f"/jobs/job?queue=articles&id={job}").status_code == 404


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_server_ends_though_a_page_is_open(application: str, server: str, tmp_path: Path) -> None:
    with serve(application, server, tmp_path) as served, served.client.stream("GET", "/jobs/live") as stream:
        next(stream.iter_lines())
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(_PATIENCE)
    log = (tmp_path / "server.log").read_text("utf-8")
    assert "Traceback" not in log
    if application == "fastapi":  # Django knows no lifespan.
        assert (tmp_path / "lifespan.txt").read_text("utf-8").split() == ["began", "ended"]


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_server_that_lies_below_a_path_itself_is_no_obstacle(application: str, tmp_path: Path) -> None:
    with serve(application, "uvicorn", tmp_path, "--root-path", "/shop") as served:
        page = served.client.get("/jobs/")  # A proxy has taken /shop off.
    links = _LINKS.findall(page.text)
    assert links
    assert all(link.startswith("/shop/jobs/") for link in links)
