"""``aquila cassettes review --web``: the page, which requests it refuses, and what its buttons do."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquila.intercept.policy import own_servers
from tests.cli.conftest import Cassettes, conversation
from tests.cli.test_review import answers, ask
from tests.huey.live.browser import Watched, chromium

AQUILA = str(Path(sys.executable).with_name("aquila"))
HOSTILE = "\ud800<img src=x onerror=alert(1)><script>alert(2)</script></script> \x1b[31m"


class Served:
    """The command, and requests to its page."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [AQUILA, "cassettes", "review", "--web"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        self.url = self.process.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#(aquila-token-\w+)", self.url)
        assert found, self.first + self.url
        self.port, self.token = int(found[1]), found[2]
        own_servers().add(("127.0.0.1", self.port))

    def send(
        self, path: str, body: object = None, *, token: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request, and return the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        shown = {"x-aquila-token": self.token if token is None else token} | (headers or {})
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, shown)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if text.startswith("{") else text

    def end(self) -> str:
        """Wait for its end, and return what it printed last."""
        out, _ = self.process.communicate(timeout=60)
        own_servers().discard(("127.0.0.1", self.port))
        return out


class Held:
    """The requests of a page to some URLs. They are held back until a test releases them."""

    def __init__(self, page: Any, urls: str) -> None:
        self._page, self._urls = page, urls
        self.routes: list[Any] = []
        page.route(urls, self._hold)

    def _hold(self, route: Any) -> None:
        self.routes.append(route)

    def expect_request(self) -> Any:
        """Return a block that ends when a further one is made."""
        return self._page.expect_request(self._urls)

    def answer_first(self) -> None:
        """Let the first be answered, and wait until it is."""
        with self._page.expect_response(self._urls):
            self.routes[0].continue_()


def open_first_question(tab: Watched, served: Served) -> None:
    """Open the page in a tab, and wait until it shows its first question."""
    tab.page.goto(served.url)
    tab.page.wait_for_selector("main ins")


@contextlib.contextmanager
def opened(served: Served, *, stops_clock: bool = False) -> Iterator[Any]:
    """The page in a browser, where it shows its first question; its clock may stand until the test moves it."""
    with chromium() as browser:
        tab = Watched(browser)
        if stops_clock:
            tab.page.clock.install()
        open_first_question(tab, served)
        yield tab.page


@pytest.fixture
def served(cassettes: Cassettes) -> Iterator[Served]:
    """The page of a review of two cassettes."""
    cassettes.write("a.yaml", ask("When?", "At nine."), ask("Emma?", "Yes."))
    cassettes.write(
        "a.pending.yaml", ask("When?", "At half past nine.", "Be brief."), ask("Emma?", "Two.", "Be brief.")
    )
    cassettes.write("b.pending.yaml", conversation(HOSTILE, HOSTILE))
    page = Served()
    yield page
    if page.process.poll() is None:
        page.process.kill()
        page.end()


def test_requests_without_the_token_or_from_another_site_are_refused(served: Served) -> None:
    status, page = served.send("/", token="")
    assert status == 200
    assert "When?" not in page
    for path, body in (("/review", None), ("/item?id=x", None), ("/decide", {}), ("/write", {}), ("/done", {})):
        assert served.send(path, body, token="")[0] == 401
        assert served.send(path, body, token="aquila-token-00")[0] == 401
        assert served.send(path, body, headers={"host": "evil.example"})[0] == 403
        assert served.send(path, body, headers={"origin": "https://evil.example"})[0] == 403
        assert served.send(path, body, headers={"sec-fetch-site": "cross-site"})[0] == 403
    assert served.send("/review")[0] == 200


@pytest.mark.slow
def test_requests_decide_undo_and_write_without_overwriting_another_window(
    served: Served, cassettes: Cassettes
) -> None:
    items = served.send("/review")[1]["items"]
    assert [(one["cassette"], one["kind"], one["size"], one["choice"]) for one in items] == [
        ("a", "prompt", 2, None),
        ("a", "prompt", 2, None),
        ("b", "new", 1, None),
    ]
    shown = served.send(f"/item?id={items[0]['id']}")[1]
    assert ["added", "brief"] in shown["prompt"]
    first = {"id": items[0]["id"], "choice": "accept", "was": None}
    assert served.send("/decide", {**first, "group": True})[0] == 200
    status, told = served.send("/decide", {**first, "choice": "reject"})
    assert (status, told["problem"]) == (409, "this was decided in another window")
    assert [one["choice"] for one in told["items"]] == ["accept", "accept", None]
    assert [one["choice"] for one in served.send("/undo", {})[1]["items"]] == [None, None, None]
    assert served.send("/undo", {})[0] == 409
    for body in ({}, {**first, "id": "x"}, {**first, "choice": "x"}, [], "x" * 100_000):
        assert served.send("/decide", body)[0] == 409
    assert served.send("/decide", first)[0] == 200
    told = served.send("/write", {})[1]
    assert told["outcomes"] == [{"cassette": "a", "problem": "", "accepted": 1, "rejected": 0, "left": 1}]
    assert answers(cassettes, "a.yaml") == ["At half past nine.", "Yes."]
    assert served.send("/done", {})[0] == 200
    assert "2 recordings left" in served.end()
    assert served.process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_decisions_are_kept_when_the_server_is_ended(number: signal.Signals, served: Served) -> None:
    item = served.send("/review")[1]["items"][0]
    served.send("/decide", {"id": item["id"], "choice": "accept", "was": None})
    os.kill(served.process.pid, number)
    assert "3 recordings left" in served.end()
    again = Served()
    assert [one["choice"] for one in again.send("/review")[1]["items"]] == ["accept", None, None]
    again.process.kill()
    again.end()


@pytest.mark.slow
def test_a_browser_shows_the_changes_and_decides_by_keys_and_buttons(served: Served, cassettes: Cassettes) -> None:
    with chromium() as browser:
        tab, other = Watched(browser), Watched(browser)
        page = tab.page
        open_first_question(tab, served)
        assert "brief" in page.inner_text("main ins")
        assert "0 of 3 decided" in page.inner_text("#count")
        open_first_question(other, served)
        page.keyboard.press("A")
        page.wait_for_selector("text=2 of 3 decided")
        page.wait_for_selector("main h1:has-text('new recording: b #1')")
        assert "<script>alert(2)</script>" in page.inner_text("main")
        other.page.wait_for_selector("text=2 of 3 decided")  # it looks by itself
        page.reload()
        page.wait_for_selector("text=2 of 3 decided")
        page.click("main .actions button:has-text('Reject')")
        page.wait_for_selector("text=All is decided")
        page.keyboard.press("u")
        page.wait_for_selector("text=2 of 3 decided")
        page.wait_for_selector("main h1:has-text('new recording: b #1')")
        page.keyboard.press("s")
        page.wait_for_selector("text=3 of 3 decided")
        page.click("#write")
        page.wait_for_selector("text=a: 2 accepted, 0 rejected, 0 still wait")
        assert answers(cassettes, "a.yaml") == ["At half past nine.", "Two."]
        page.keyboard.press("q")
        page.wait_for_selector("text=this window can be closed")
        tab.assert_quiet()
    assert "1 recording left" in served.end()


@pytest.mark.slow
def test_a_late_answer_does_not_replace_the_question_that_is_shown(served: Served) -> None:
    with opened(served) as page:
        first = page.inner_text("main h1")
        held = Held(page, "**/item?*")
        with held.expect_request():
            page.keyboard.press("j")
        page.keyboard.press("k")  # back, before the other question has come
        page.wait_for_function("document.querySelector('.question').getAttribute('aria-current') === 'true'")
        held.answer_first()
        page.evaluate("fetch('x')")  # whatever was answered before is drawn now
        assert page.inner_text("main h1") == first


@pytest.mark.slow
def test_fast_typing_decides_only_questions_that_are_shown(served: Served) -> None:
    with opened(served) as page:
        held = Held(page, "**/item?*")
        with held.expect_request():
            page.keyboard.press("a")
        page.wait_for_selector("text=1 of 3 decided")
        page.keyboard.press("r")  # the question that is shown is the first still
        held.answer_first()
        page.wait_for_selector("main h1:has-text('a #2')")
        assert [one["choice"] for one in served.send("/review")[1]["items"]] == ["accept", None, None]
        page.keyboard.press("r")
        page.wait_for_selector("text=2 of 3 decided")


@pytest.mark.slow
def test_a_decision_of_another_window_is_shown_before_it_can_be_changed(served: Served) -> None:
    with opened(served) as page:
        first = served.send("/review")[1]["items"][0]["id"]
        held = Held(page, "**/item?*")
        with held.expect_request():  # the page looks by itself
            served.send("/decide", {"id": first, "choice": "accept", "was": None})
        page.keyboard.press("r")  # what is shown is the question, still without the decision
        held.answer_first()
        page.wait_for_selector("text=Decided: accept")
        assert [one["choice"] for one in served.send("/review")[1]["items"]] == ["accept", None, None]


@pytest.mark.slow
def test_a_question_that_is_opened_by_keys_keeps_the_focus(served: Served) -> None:
    with opened(served) as page:
        page.focus(".question:nth-child(2)")
        page.keyboard.press("Enter")
        page.wait_for_selector(".question:nth-child(2)[aria-current]")
        assert page.evaluate("document.activeElement.matches('.question:nth-child(2)')")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('.question:nth-child(3)')")


@pytest.mark.slow
def test_the_page_polls_again_only_after_the_last_answer(served: Served) -> None:
    with opened(served, stops_clock=True) as page:
        held = Held(page, "**/review")
        page.clock.run_for(20_000)
        page.evaluate("fetch('x')")  # whatever was asked before is known now
        assert len(held.routes) == 1
        held.answer_first()
        with held.expect_request():
            pass  # the next look
