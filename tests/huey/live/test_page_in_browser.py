"""The page of jobs in a real browser: what happens is seen as it happens, and nothing else happens."""

import importlib
import signal

import pytest

import aquila
from aquila.huey.live import app, subscribe
from aquila.huey.tasks.running_task import current_task
from tests.huey.live.browser import PageServer, Watched, chromium
from tests.huey.live.conftest import Provider, consumer, worker_program

pytestmark = [
    pytest.mark.slow,
    # Starlette leaves a file open where the browser gives up a request for it while it is opened.
    pytest.mark.filterwarnings("ignore:.*page/static/:pytest.PytestUnraisableExceptionWarning"),
]
PROMPT = '<img src=x onerror=alert(1)><script>alert(2)</script></pre></body>"eagles"'


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def huey(published):
    return published("sqlite")


@pytest.fixture
def server(huey):
    with PageServer(lambda: app(huey, token="a-token-for-the-tests")) as running:
        yield running


def declare_stream(huey, provider):
    @huey.task(name="write", retries=1, retry_delay=0)
    def write(topic):
        with aquila.stream(topic, transport=provider) as stream:
            for _ in stream:
                pass
        if topic == "fail first" and current_task().attempt == 1:
            raise ValueError("it was too busy")

    return write


def open_job(tab, server, huey, result):
    tab.page.goto(f"{server.url}/job?queue={huey.name}&id={result.id}")
    tab.page.wait_for_selector("#connection.on")


def wait_for_text(tab, selector, text):
    tab.page.wait_for_function(
        "([selector, text]) => [...document.querySelectorAll(selector)].some((one) => one.textContent.includes(text))",
        arg=[selector, text],
    )


def test_the_answer_grows_while_the_model_writes(browser, huey, server, steps):
    result = declare_stream(huey, Provider("one two three four five six", steps))("eagles")
    tab = Watched(browser)
    open_job(tab, server, huey, result)
    wait_for_text(tab, "#answers", "has not begun")
    with consumer(huey):
        steps.release(3)
        wait_for_text(tab, "pre.growing", "one ")
        assert "six" not in tab.page.inner_text("#answers")
        wait_for_text(tab, "#job", "Running")
        steps.release(100)
        wait_for_text(tab, "#job", "Done")
        wait_for_text(tab, "#answers", "done after")
    assert tab.page.locator("pre[data-kind=text]").inner_text() == "one two three four five six"
    tab.page.reload()
    assert tab.page.locator("pre[data-kind=text]").inner_text() == "one two three four five six"
    tab.assert_quiet()


def test_what_comes_while_somebody_selects_text_is_shown_afterwards(browser, huey, server, steps):
    words = [f"word{number}" for number in range(12)]
    result = declare_stream(huey, Provider(" ".join(words), steps))("eagles")
    tab = Watched(browser)
    open_job(tab, server, huey, result)
    with consumer(huey):
        steps.release(4)
        wait_for_text(tab, "pre.growing", "word0")
        tab.page.evaluate("getSelection().selectAllChildren(document.querySelector('pre.growing'))")
        steps.release(100)
        wait_for_text(tab, "#job", "Done")
        tab.page.evaluate("getSelection().removeAllRanges()")
        wait_for_text(tab, "#answers", "done after")
    assert tab.page.locator("pre[data-kind=text]").inner_text().split() == words
    tab.assert_quiet()


def test_a_retry_is_seen_with_its_reason(browser, huey, server):
    result = declare_stream(huey, Provider("one two"))("fail first")
    tab = Watched(browser)
    open_job(tab, server, huey, result)
    with consumer(huey):
        wait_for_text(tab, "details.run summary", "tried again after")
        wait_for_text(tab, "details.run summary", "ValueError: it was too busy")
        wait_for_text(tab, "#job", "Done")
        wait_for_text(tab, "section.run h2", "Attempt 2")
    tab.assert_quiet()


def test_what_comes_after_a_restart_of_the_server_follows_what_was_there(browser, huey, server, steps):
    words = [f"word{number}" for number in range(40)]
    result = declare_stream(huey, Provider(" ".join(words), steps))("eagles")
    tab = Watched(browser)
    with consumer(huey):
        open_job(tab, server, huey, result)
        steps.release(8)
        wait_for_text(tab, "pre.growing", "word4")
        server.stop()
        tab.page.wait_for_selector("#connection.off")
        steps.release(12)
        server.start()
        tab.page.wait_for_selector("#connection.on")
        wait_for_text(tab, "pre.growing", "word16")
        steps.release(100)
        wait_for_text(tab, "#job", "Done")
        wait_for_text(tab, "pre[data-kind=text]", "word39")
    assert tab.page.locator("pre[data-kind=text]").inner_text().split() == words
    assert {error for error in tab.errors if "ERR_CONNECTION" not in error and "ERR_INCOMPLETE" not in error} == set()


KILLED = """
    import time
    from aquila.huey import SqliteHuey
    from aquila.huey.live import publish_jobs

    huey = SqliteHuey("app", filename=f"{__file__}.db")
    publish_jobs(huey, every=0.02, heartbeat=0.2)

    @huey.task()
    def sleep():
        time.sleep(3600)
"""


def test_a_killed_worker_is_seen(browser, tmp_path, monkeypatch):
    with worker_program(KILLED, tmp_path, name="killed_app") as worker:
        monkeypatch.syspath_prepend(tmp_path)
        killed = importlib.import_module("killed_app")
        result = killed.sleep()
        tab = Watched(browser)
        with PageServer(lambda: app(killed.huey)) as server:
            tab.page.goto(server.url)
            wait_for_text(tab, "tr", "Running")
            assert tab.page.locator(".workers .alive").count() == 1
            worker.send_signal(signal.SIGKILL)
            wait_for_text(tab, "tr", "Interrupted")
            wait_for_text(tab, ".workers .dead", "last seen")
            tab.page.click(f"[id='job-{result.id}']")
            wait_for_text(tab, "#job", "Its worker is gone")
            tab.assert_quiet()
    killed.huey.storage.close()


def test_a_thousand_jobs_at_once_are_followed(browser, huey, server):
    @huey.task(name="count")
    def count(number):
        return number

    tab = Watched(browser)
    tab.page.goto(server.url)
    results = [count(number) for number in range(1000)]
    wait_for_text(tab, "#tab-queued", "1,000")
    assert tab.page.locator("tbody tr").count() == 50
    with consumer(huey, workers=4):
        wait_for_text(tab, "#tab-done", "1,000")
    tab.page.click("#older")
    wait_for_text(tab, ".pages", "51 – 100 of 1,000")
    tab.page.fill("#search", results[7].id)
    tab.page.press("#search", "Enter")
    wait_for_text(tab, ".pages", "1 – 1 of 1")
    tab.assert_quiet()


def test_html_in_prompts_and_answers_stays_text(browser, huey, server):
    result = declare_stream(huey, Provider(PROMPT))(PROMPT)
    tab = Watched(browser)
    open_job(tab, server, huey, result)
    with consumer(huey):
        wait_for_text(tab, "#job", "Done")
        wait_for_text(tab, "pre[data-kind=text]", PROMPT)
    assert tab.page.locator("#answers img, #answers script, #job img").count() == 0
    tab.page.goto(server.url)
    wait_for_text(tab, "tr", '</body>"eagles"')
    assert tab.page.locator("main img, main script").count() == 0
    tab.page.goto(f"{server.url}/?q=%3Cimg+src%3Dx")
    assert tab.page.locator("tbody tr").count() == 1
    tab.assert_quiet()


def test_text_of_any_script_stands_as_its_readers_expect(browser, huey, server):
    result = declare_stream(huey, Provider("שלום עולם!"))("\u202eeagles")
    with consumer(huey):
        list(subscribe(huey, result, timeout=60))
    tab = Watched(browser)
    open_job(tab, server, huey, result)
    places = tab.page.evaluate(
        """() => {
            const text = document.querySelector("pre.text").firstChild;
            return [0, text.length - 1].map((at) => {
                const range = document.createRange();
                range.setStart(text, at);
                range.setEnd(text, at + 1);
                return range.getBoundingClientRect().left;
            });
        }"""
    )
    assert (
        places[0] > places[1]
    )  # The first letter is on the right, and the exclamation mark ends the line on the left.


def test_a_screen_reader_is_told_how_the_job_ends(browser, huey, server, steps):
    result = declare_stream(huey, Provider("one two three", steps))("eagles")
    tab = Watched(browser)
    with consumer(huey):
        steps.release(1)
        open_job(tab, server, huey, result)
        wait_for_text(tab, "#job .badge", "Running")
        steps.release(1000)
        wait_for_text(tab, "#news[role=status]", "write: Done")


def test_a_page_whose_connection_says_nothing_any_more_connects_again(browser, huey, server):
    tab = Watched(browser)
    asked = []
    tab.page.on("request", lambda request: asked.append(request.url.split("?")[0].rpartition("/")[2]))
    tab.page.clock.install()
    tab.page.goto(server.url)
    tab.page.wait_for_selector("#connection.on")
    with tab.page.expect_request("**/live"):
        tab.page.clock.fast_forward("08:00:00")  # The machine sleeps.
    tab.page.wait_for_selector("#connection.on")
    assert asked.count("live") == 2


def test_a_page_that_gets_no_connection_looks_again(browser, huey, steps):
    with PageServer(lambda: app(huey, most_streams=1)) as server, consumer(huey):
        result = declare_stream(huey, Provider("one two three", steps))("eagles")
        first, second = Watched(browser), Watched(browser)
        open_job(first, server, huey, result)
        second.page.clock.install()
        second.page.goto(f"{server.url}/job?queue={huey.name}&id={result.id}")
        wait_for_text(second, "#connection", "Connecting again")
        steps.release(1000)
        wait_for_text(first, "#job .badge", "Done")
        with second.page.expect_response(lambda response: "/job?" in response.url):
            second.page.clock.fast_forward("00:11")
        wait_for_text(second, "#answers", "one two three")
        first.page.goto("about:blank")
        second.page.clock.fast_forward("00:11")
        second.page.wait_for_selector("#connection.on")
        assert second.page.locator("pre.text").inner_text() == "one two three"


def test_a_page_whose_session_has_ended_says_so(browser, huey):
    with PageServer(lambda: app(huey, token="a-token-for-the-tests", reading_needs_token=True)) as server:
        tab = Watched(browser)
        tab.page.goto(server.url)
        tab.page.fill("input[name=token]", "a-token-for-the-tests")
        tab.page.click("text=Sign in >> nth=-1")
        tab.page.wait_for_selector("#connection.on")
        tab.page.context.clear_cookies(name="aquila_jobs_session")
        tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")  # It connects again.
        wait_for_text(tab, "#connection", "Signed out")


def test_a_page_in_the_background_takes_no_connection(browser, huey, server):
    with consumer(huey):
        result = declare_stream(huey, Provider("one two three"))("eagles")
        list(subscribe(huey, result, timeout=60))
    tab = Watched(browser)
    asked = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => !window.shown})")
    tab.page.goto(f"{server.url}/job?queue={huey.name}&id={result.id}", wait_until="networkidle")
    assert not any("/live" in url for url in asked)
    tab.page.evaluate("window.shown = true; document.dispatchEvent(new Event('visibilitychange'))")
    tab.page.wait_for_selector("#connection.on")


def test_a_signed_in_user_can_act(browser, huey, server):
    @huey.task(name="wait")
    def wait():
        pass

    result = wait()
    tab = Watched(browser)
    tab.page.goto(server.url)
    assert tab.page.locator("form[method=post]").count() == 0
    tab.page.click("text=Sign in")
    tab.page.fill("input[name=token]", "a-token-for-the-tests")
    tab.page.click("button")
    tab.page.click("text=Pause")
    wait_for_text(tab, ".cards", "Paused")
    tab.page.click(f"[id='job-{result.id}']")
    tab.page.click("button[value=cancel]")
    wait_for_text(tab, "#job", "Canceled")
    assert huey.is_revoked(result)
    tab.page.goto(server.url)
    tab.page.click("text=Resume")
    with consumer(huey):
        assert [event.kind for event in subscribe(huey, result, timeout=60)] == ["queued", "canceled"]
        wait_for_text(tab, "tr", "Canceled")
    tab.assert_quiet()


def test_the_focus_goes_to_no_other_button_when_the_buttons_change(browser, huey, server, steps):
    result = declare_stream(huey, Provider("one two three", steps))("eagles")
    tab = Watched(browser)
    tab.page.goto(f"{server.url}/sign-in")
    tab.page.fill("input[name=token]", "a-token-for-the-tests")
    tab.page.click("button")
    open_job(tab, server, huey, result)
    with consumer(huey):
        steps.release(1)
        wait_for_text(tab, "#job .badge", "Running")
        tab.page.focus("button[value=cancel]")
        steps.release(1000)
        tab.page.wait_for_selector("button[value=delete]")
    assert tab.page.evaluate("document.activeElement === document.body")
    tab.assert_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_used_by_keys(browser, huey, server, scheme):
    @huey.task(name="write_a_rather_long_article_about_something")
    def write(topic):
        raise ValueError("a" * 300)

    results = [write("eagles " * 40) for _ in range(3)]
    with consumer(huey):
        for result in results:
            list(subscribe(huey, result, timeout=60))
    tab = Watched(browser, viewport={"width": 380, "height": 780}, color_scheme=scheme)
    tab.page.goto(server.url)
    wait_until_as_wide_as_the_screen(tab)
    tab.page.wait_for_selector("#connection.on")  # Its script listens to keys.
    tab.page.keyboard.press("j")
    tab.page.keyboard.press("j")
    assert tab.page.evaluate("document.activeElement.id") == f"job-{results[1].id}"
    tab.page.keyboard.press("/")
    assert tab.page.evaluate("document.activeElement.id") == "search"
    tab.page.keyboard.type("eagl")
    tab.page.keyboard.press("Escape")
    assert tab.page.input_value("#search") == "eagl"
    tab.page.keyboard.press("k")
    tab.page.keyboard.press("Enter")
    wait_for_text(tab, "#job", "Failed")
    wait_until_as_wide_as_the_screen(tab)
    tab.assert_quiet()


def wait_until_as_wide_as_the_screen(tab):
    # Where its style came a moment later. A function: text that is evaluated again the policy of the page forbids.
    tab.page.wait_for_function("() => document.documentElement.scrollWidth <= 380")
