"""The page in a real browser: of a hundred thousand jobs, in the dark, and beside pages of strangers."""

import gc

import pytest

from aquila.huey.live import app
from aquila.huey.live.summaries import JOBS_TABLE, JobRun, JobSummary
from aquila.huey.state import state_of
from tests.huey.live.browser import PageServer, Watched, chromium
from tests.huey.live.test_page_in_browser import wait_for_text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*page/static/:pytest.PytestUnraisableExceptionWarning"),
]
JOBS = 100_000
TOKEN = "a-token-for-the-tests"


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(autouse=True)
def collected():
    """What a browser made Starlette leave open goes while its warning is ignored, not after the last test."""
    yield
    gc.collect()


def write_jobs(huey, count):
    """Write the summaries of jobs into Redis, as their workers would."""
    values, orders = state_of(huey).keys_of(JOBS_TABLE)
    with huey.storage.conn.pipeline(transaction=False) as pipeline:
        for number in range(count):
            job = JobSummary(f"job-{number:06}", name="app.write", created=1000.0 + number)
            job.arguments = f'{{"topic": "bird {number}"}}'
            state = "failed" if number % 1000 == 0 else "done"
            job.runs = [JobRun("r", state=state, started=2000.0, ended=3000.0 + number)]
            pipeline.hset(values, job.id, job.encode()).zadd(orders, {job.id: 3000.0 + number})
            if number % 5000 == 4999:
                pipeline.execute()
        pipeline.execute()


def shown(tab):
    return tab.page.evaluate("[...document.querySelectorAll('tbody [id^=job-]')].map((one) => one.id.slice(4))")


def ids(first, count=50):
    return [f"job-{number:06}" for number in range(first, first - count, -1)]


@pytest.mark.nightly
@pytest.mark.long(30)
def test_of_a_hundred_thousand_jobs_every_page_is_reached_by_keys_and_links(browser, published):
    huey = published("redis")
    write_jobs(huey, JOBS)
    tab = Watched(browser)
    tab.page.set_default_timeout(240_000)
    with PageServer(lambda: app(huey)) as server:
        tab.page.goto(server.url)
        wait_for_text(tab, ".pages", "1 – 50 of 100,000")
        assert shown(tab) == ids(JOBS - 1)
        for page in range(1, 4):
            tab.page.click("#older")
            wait_for_text(tab, ".pages", f"{50 * page + 1} – {50 * page + 50} of 100,000")
            assert shown(tab) == ids(JOBS - 1 - 50 * page)
        tab.page.click("#newer")
        wait_for_text(tab, ".pages", "101 – 150 of 100,000")
        tab.page.click("#tab-failed")
        wait_for_text(tab, ".pages", "1 – 50 of 100")
        assert shown(tab) == [f"job-{number:06}" for number in range(JOBS - 1000, JOBS - 51_000, -1000)]
        tab.page.click("#tab-all")
        wait_for_text(tab, ".pages", "of 100,000")
        tab.page.wait_for_selector("#connection.on")  # Its script listens to keys.
        tab.page.keyboard.press("/")
        tab.page.keyboard.type("bird job-004711")
        tab.page.keyboard.press("Enter")
        wait_for_text(tab, ".pages", "1 – 1 of 1")
        assert shown(tab) == ["job-004711"]
        tab.page.wait_for_selector("#connection.on")
        tab.page.keyboard.press("j")
        tab.page.keyboard.press("Enter")
        wait_for_text(tab, "#job", "job-004711")
    tab.assert_quiet()


def brightness(tab, selector, property):
    text = tab.page.evaluate(
        "([selector, property]) => getComputedStyle(document.querySelector(selector))[property]", [selector, property]
    )
    return sum(map(float, text.removeprefix("rgb(").removesuffix(")").split(",")[:3])) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_mode_of_the_system(browser, published, scheme):
    huey = published("redis")
    write_jobs(huey, 3)
    tab = Watched(browser, color_scheme=scheme)
    with PageServer(lambda: app(huey)) as server:
        for path in ("/", f"/job?queue={huey.name}&id=job-000001"):
            tab.page.goto(server.url + path)
            background, text = brightness(tab, "body", "backgroundColor"), brightness(tab, "body", "color")
            assert (background < 60 and text > 200) if scheme == "dark" else (background > 200 and text < 60)
    tab.assert_quiet()


SUBMITTING = """<form method=post action="{url}/act"><input name=form value="{form}"><input name=queue value="{queue}">
<input name=action value=cancel><input name=id value="{id}"></form><script>document.forms[0].submit()</script>"""


def test_a_page_of_a_stranger_acts_for_nobody_who_has_signed_in(browser, published):
    huey = published("redis")
    result = huey.task(name="wait")(lambda: 1)()
    tab = Watched(browser)
    with PageServer(lambda: app(huey, token=TOKEN)) as server:
        tab.page.goto(f"{server.url}/sign-in")
        tab.page.fill("input[name=token]", TOKEN)
        tab.page.click("button")
        wait_for_text(tab, ".cards", "Pause")
        # Though it has the hidden value, which it cannot read.
        form = tab.page.get_attribute("input[name=form]", "value")
        stranger = tab.page.context.new_page()
        html = SUBMITTING.format(url=server.url, form=form, queue=huey.name, id=result.id)
        job = f"{server.url}/job?queue={huey.name}&id={result.id}"
        bodies = {"http://stranger.example/": f"<a href='{job}'>a job</a>", "http://stranger.example/submit": html}
        stranger.route(
            "http://stranger.example/**",
            lambda route: route.fulfill(body=bodies[route.request.url], content_type="text/html"),
        )
        stranger.goto("http://stranger.example/")
        read = "(url) => fetch(url, {credentials: 'include'}).then(() => 'read', () => 'refused')"
        assert stranger.evaluate(read, server.url) == "refused"
        with stranger.expect_response(lambda response: response.url.endswith("/act")) as answer:
            stranger.goto("http://stranger.example/submit")
        assert answer.value.status == 403
        assert not huey.is_revoked(result)
        # But a link to a job works: who follows it is still signed in, and so are the pages that are open.
        tab.page.goto(job)
        stranger.goto("http://stranger.example/")
        stranger.click("a")
        stranger.wait_for_selector("button[value=cancel]")
        tab.page.click("button[value=cancel]")
        wait_for_text(tab, "#job", "Canceled")
        assert huey.is_revoked(result)
