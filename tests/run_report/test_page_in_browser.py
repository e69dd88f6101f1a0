"""A page of a run in a real browser, as a file: what it shows, by mouse and by keys, and what it never does."""

import base64
import re
from datetime import datetime, timedelta

import pytest

from aquila.run_report.page import join_scripts, policy_for, read_parts, render_page, write_json
from tests.huey.live.browser import chromium
from tests.run_report.sample_runs import (
    keep,
    keep_bytes,
    make_exchange,
    make_long_run,
    make_report,
    make_sample_run,
    make_test,
)

pytestmark = pytest.mark.slow
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 380, "height": 800}


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


class Tab:
    """A tab that notes errors, and whatever it asks of a network."""

    def __init__(self, browser, **options):
        context = browser.new_context(**{"viewport": WIDE, **options})
        self.page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors, self.asked = [], []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.note(request.url))

    def note(self, url):
        if not url.startswith(("file:", "data:", "blob:")):
            self.asked.append(url)

    def open(self, path, address=""):
        self.page.goto("about:blank")
        self.page.goto(f"file://{path}{address}")
        self.page.wait_for_function("() => document.readyState === 'complete'")

    def text(self, selector="main"):
        return self.page.inner_text(selector)

    def wait_for(self, text, selector="main"):
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector).textContent.includes(text)", arg=[selector, text]
        )

    def unfold(self, summary):
        """Click a summary, and wait until what it folds is drawn: the event of it comes later than the click."""
        summary.click()
        summary.locator("xpath=following-sibling::*[contains(@class, 'folded')]").wait_for()

    def assert_quiet(self):
        assert self.errors == []
        assert self.asked == []


@pytest.fixture
def write(tmp_path):
    def write(report):
        path = tmp_path / "run.html"
        path.write_text(render_page(report), encoding="utf-8")
        return path

    return write


@pytest.fixture
def sample(write):
    return write(make_sample_run())


def names(tab):
    return tab.page.locator("#tests .row-name").all_inner_texts()


def test_the_overview_leads_to_a_test_and_back(browser, sample):
    tab = Tab(browser)
    tab.open(sample)
    for text in ("14", "Failed", "no recording answers", "By model and host", "claude-haiku-4-5", "Slowest tests"):
        assert text in tab.text()
    assert tab.page.locator(".tops li").count() == 15
    firsts = tab.page.locator(".tops li:first-child .grow").all_inner_texts()
    assert (firsts[0], firsts[2]) == ("test_comes_again_when_busy", "test_reads_a_whiteboard")
    tab.page.click("main .test-lines a >> text=test_actions_have_owners")
    tab.wait_for("Differs from the nearest recording")
    assert tab.page.evaluate("document.activeElement.id") == "title"
    assert tab.page.locator(".row[aria-current]").inner_text().startswith("test_actions_have_owners")
    changed = tab.page.locator(".drift .words").first
    assert "−one sentence" in changed.inner_text().replace("removed: ", "")
    assert [one.inner_text() for one in changed.locator("ins > b").all()] == ["+", "+"]
    assert tab.page.locator(".again").is_visible()
    tab.page.go_back()
    tab.wait_for("By model and host")
    tab.assert_quiet()


@pytest.mark.parametrize("order", ["constructor", "__proto__", "toString"])
def test_an_address_with_an_order_that_is_none_shows_all(browser, sample, order):
    tab = Tab(browser)
    tab.open(sample, f"#sort={order}")
    tab.wait_for("14 tests", "#count")
    assert len(names(tab)) == 14
    tab.assert_quiet()


def test_a_filter_is_in_the_address_and_can_be_sent(browser, sample):
    tab = Tab(browser)
    tab.open(sample)
    tab.page.click(".chip[data-value=missed]")
    tab.wait_for("3 of 14 tests", "#count")
    tab.page.fill("#search", "EXPORTER")
    tab.wait_for("1 of 14 tests", "#count")
    address = tab.page.url
    assert address.endswith("#state=missed&q=EXPORTER")
    tab.page.click("#tests a.row")
    tab.wait_for("Differs from the nearest recording")
    marked = "() => [...CSS.highlights.get('found')].map((range) => range.toString())"
    assert set(tab.page.evaluate(marked)) == {"exporter"}
    tab.unfold(tab.page.locator("summary", has_text="The request as a conversation"))
    tab.page.wait_for_function("() => CSS.highlights.get('found').size === 2")
    other = Tab(browser)
    other.open(sample, "#" + address.partition("#")[2])
    other.wait_for("1 of 14 tests", "#count")
    assert names(other) == ["test_tags_are_known"]
    assert other.page.input_value("#search") == "EXPORTER"
    other.page.evaluate("() => { location.hash = 'test=of another run'; }")
    other.wait_for("There is no such test in this report")
    other.page.go_back()
    other.page.click("#clear")
    other.wait_for("14 tests", "#count")
    other.page.select_option("#select-sort", "slowest")
    assert names(other)[0] == "test_comes_again_when_busy"
    tab.assert_quiet()
    other.assert_quiet()


def test_of_a_cause_there_is_a_list_of_its_tests(browser, sample):
    tab = Tab(browser)
    tab.open(sample)
    tab.page.click("text=Show these tests in the list")
    tab.wait_for("3 of 14 tests", "#count")
    assert len(names(tab)) == 3
    tab.assert_quiet()


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_what_was_just_typed_is_searched_when_the_search_is_left(browser, sample, key):
    tab = Tab(browser)
    tab.page.clock.install()
    tab.open(sample)
    tab.page.clock.pause_at(datetime.now() + timedelta(hours=1))  # the wait for the next letter never ends
    tab.page.locator("#search").press_sequentially("planning")
    tab.page.keyboard.press(key)
    tab.wait_for("2 of 14 tests", "#count")
    assert tab.page.evaluate("location.hash") == "#q=planning"
    assert tab.page.input_value("#search") == "planning"
    if key == "Enter":
        found = tab.page.evaluate("document.activeElement.querySelector('.row-name').textContent")
        assert found == names(tab)[0]
    tab.assert_quiet()


def test_everything_is_reached_by_keys(browser, sample):
    tab = Tab(browser)
    tab.open(sample)
    press = tab.page.keyboard.press
    active = "document.activeElement"
    press("Tab")
    assert tab.page.evaluate(f"{active}.id") == "skip"
    press("Enter")
    assert tab.page.evaluate(f"{active}.id") == "main"
    press("?")
    assert tab.page.locator("#help").is_visible()
    press("Escape")
    assert not tab.page.locator("#help").is_visible()
    press("/")
    tab.page.keyboard.type("planning")
    tab.wait_for("2 of 14 tests", "#count")
    press("Escape")
    press("j")
    press("j")
    press("k")
    assert tab.page.evaluate(f"{active}.querySelector('.row-name').textContent") == "test_finds_people"
    press("Enter")
    tab.wait_for("Invite Ada and Grace")
    press("j")
    assert tab.page.evaluate(f"{active}.querySelector('.row-name').textContent") == "test_comes_again_when_busy"
    press("Escape")
    tab.wait_for("By model and host")
    tab.page.wait_for_function(f"() => {active}.matches('.row')")
    assert tab.page.evaluate("location.hash") == "#q=planning"
    tab.assert_quiet()


OPEN_ALL = """() => {
  const folded = [...document.querySelectorAll("main details")];
  for (const one of folded) one.open = true;
  return folded.every((one) => one.querySelector(".folded"));
}"""


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", PHONE)], ids=["wide", "phone"])
def test_every_test_fits_on_every_screen(browser, sample, scheme, size):
    tab = Tab(browser, viewport=size, color_scheme=scheme)
    tab.open(sample)
    for test in [None, *make_sample_run()["tests"]]:
        if test is not None:
            tab.page.evaluate("(id) => { location.hash = 'test=' + encodeURIComponent(id); }", test["id"])
            tab.wait_for(test["id"])
        tab.page.wait_for_function(OPEN_ALL)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size["width"], test and test["id"]
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    tab.assert_quiet()


def test_what_a_script_answers_is_not_said_to_be_recorded(browser, sample):
    tab = Tab(browser)
    tab.open(sample, "#test=tests/test_notes.py::test_scripted_refusal")
    assert "refusals.yaml" in tab.text()
    assert tab.page.locator(".again").count() == 0
    tab.assert_quiet()


def test_on_a_phone_the_list_is_a_view_of_its_own(browser, sample):
    tab = Tab(browser, viewport=PHONE)
    tab.open(sample)
    assert not tab.page.locator("#side").is_visible()
    tab.page.click("#to-tests")
    tab.page.locator("#side").wait_for()  # the page hears of another address later than the click
    tab.page.click("#tests >> text=test_finds_people")
    tab.wait_for("Invite Ada and Grace")
    assert not tab.page.locator("#side").is_visible()
    tab.page.click(".back")
    tab.wait_for("By model and host")
    tab.assert_quiet()


def test_calls_of_tools_have_their_results_beside_them(browser, sample):
    tab = Tab(browser)
    tab.open(sample, "#test=tests/test_planning.py::test_finds_people")
    calls = tab.page.locator(".call")
    assert calls.first.inner_text().split() == [
        *["find_people", "call_1"], "{", '"team":', '"importer",', '"active":', "true", "}", "result", "[",
        '"Ada",', '"Grace"', "]",
    ]  # fmt: skip
    second = tab.page.locator(".exchange").nth(1)
    assert "Who should come" not in second.inner_text()
    tab.unfold(second.locator("summary", has_text="3 messages as before"))
    assert "Who should come" in second.inner_text()
    tab.unfold(tab.page.locator("summary", has_text="Raw answer").first)
    assert tab.page.locator(".events li").count() == 13
    tab.page.locator(".lane").nth(1).focus()
    assert "first token after 190 ms" in tab.text(".readout")
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Request 2"
    tab.page.click("text=As a table")
    assert "820 ms" in tab.text(".timeline table")
    tab.assert_quiet()


def test_images_are_shown_sounds_play_and_frames_go_both_ways(browser, sample):
    tab = Tab(browser)
    tab.open(sample, "#test=tests/test_images.py::test_reads_a_whiteboard")
    tab.page.wait_for_function("() => document.querySelector('.part img').naturalWidth === 240")
    assert "below a **blue** sky.\n\n- no text" in tab.page.text_content(".answer")
    tab.open(sample, "#test=tests/test_voice.py::test_listens")
    tab.page.wait_for_function("() => document.querySelector('audio').duration === 1")
    frames = tab.page.locator(".frames > li")
    assert [one.split("\n")[0] for one in frames.all_inner_texts()[:2]] == ["↓ received", "↑ sent"]
    tab.unfold(frames.first.locator("summary"))
    assert '"session": {}' in frames.first.inner_text()
    tab.assert_quiet()


def test_the_command_is_copied_or_selected(browser, sample):
    address = "#test=tests/test_notes.py::test_summary_is_short"
    command = "pytest 'tests/test_notes.py::test_summary_is_short' --aquila-record"
    tab = Tab(browser)
    tab.open(sample, address)
    tab.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    tab.page.evaluate("document.execCommand = () => false")
    tab.page.click(".command button")
    assert tab.page.evaluate("getSelection().toString()") == command
    assert tab.text(".command button") == "Selected"
    copied = Tab(browser, permissions=["clipboard-read", "clipboard-write"])
    copied.open(sample, address)
    copied.page.click(".command button")
    copied.page.wait_for_function("() => document.querySelector('.command button').textContent === 'Copied'")
    copied.assert_quiet()
    tab.assert_quiet()


ATTACK = (
    '<img src=x onerror="window.hit=1"><script>window.hit=2</script></script><svg onload="window.hit=3">'
    '"\'><a href="javascript:window.hit=4">javascript:window.hit=4</a>{{7*7}}\u2028\u202eabc\x00\ud800\u0645\u0631'
)
DRAWING = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="http://127.0.0.1:9/a.png"/>'
    b'<script>parent.hit=5;fetch("http://127.0.0.1:9/")</script></svg>'
)


def make_hostile_run():
    bodies = {}
    parts = [
        {"kind": "image", "media_type": "image/svg+xml", "body": keep_bytes(bodies, DRAWING, "image/svg+xml")},
        {"kind": "image", "media_type": "text/html", "name": ATTACK, "body": keep_bytes(bodies, DRAWING, "text/html")},
        {"kind": "image", "url": "javascript:window.hit=6"},
        {"kind": "file", "url": "http://127.0.0.1:9/file", "name": ATTACK},
        {"kind": "audio", "media_type": ATTACK, "body": keep_bytes(bodies, b"no sound", ATTACK)},
        {"kind": "image", "body": {"key": "missing", "size": 3}},
    ]
    bodies["bad"] = {"base64": "not base64!", "media_type": "image/png"}
    parts.append({"kind": "image", "body": {"key": "bad", "size": 3}})
    call = {"name": ATTACK, "id": ATTACK, "arguments": ATTACK, "result": ATTACK}
    exchange = make_exchange(
        1, host=ATTACK, path=ATTACK, model=ATTACK, faults=[ATTACK], script=ATTACK, job=ATTACK, problem=ATTACK,
        states=["missed", ATTACK], error=ATTACK, parameters={ATTACK: [ATTACK]}, tools=[ATTACK], cassette=ATTACK,
        messages=[{"role": ATTACK, "text": keep(bodies, ATTACK * 3), "parts": parts, "reasoning": ATTACK,
                   "tool_calls": [call]}],
        answer=[{"role": "assistant", "text": ATTACK}],
        request_headers=[[ATTACK, ATTACK]], request_body=keep(bodies, ATTACK * 9), response_body=f"data: {ATTACK}\n\n",
        frames=[{"direction": "sent", "kind": "text", "at": 1, "body": f'{{"type": "{"<b>"}"}}'}],
        drift={"cassette": ATTACK, "number": 1, "group": ATTACK, "prompt_was": ATTACK, "prompt_now": ATTACK[:-9],
               "changes": [{"path": ATTACK, "was": ATTACK, "now": ATTACK + "!"}]},
    )  # fmt: skip
    job = {"id": ATTACK, "name": ATTACK, "attempts": [{"number": 1, "at": 0, "outcome": ATTACK, "error": ATTACK}]}
    test = make_test(
        ATTACK, [exchange], file=ATTACK, outcome="failed", failure=ATTACK, jobs=[job], worker=ATTACK, unplayed=[ATTACK],
        command=ATTACK,
    )  # fmt: skip
    return make_report([test], bodies, root=ATTACK, notes=[ATTACK], interrupted=ATTACK, orphans=[ATTACK], mode=ATTACK)


def test_what_is_hostile_in_a_report_stays_text(browser, write):
    report = make_hostile_run()
    tab = Tab(browser)
    tab.open(write(report))
    tab.page.locator("main .cause a.more").wait_for()
    tab.page.click("#tests a.row")
    tab.page.locator(".exchange").wait_for()
    tab.page.wait_for_function(OPEN_ALL)
    assert "⟨U+0000⟩" in tab.text(".answer")
    assert "⟨U+202E⟩abc" in tab.text(".answer")
    assert "<script>window.hit=2</script>" in tab.text(".answer")
    assert tab.page.locator("main script, main svg[onload], main a[href^=javascript], main iframe").count() == 0
    tab.wait_for("This browser cannot show the image.")
    tab.wait_for("Its bytes cannot be read.")
    tab.page.wait_for_function("() => document.querySelector('.part img').naturalWidth === 9")
    for size in (PHONE, WIDE):
        tab.page.set_viewport_size(size)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    tab.page.fill("#search", "'><a href=\"javascript")
    tab.wait_for("1 test", "#count")
    assert tab.page.evaluate("window.hit") is None
    address = tab.page.url
    again = Tab(browser)
    again.page.goto("about:blank")
    again.page.goto(address)
    again.page.locator(".exchange").wait_for()
    tab.assert_quiet()
    again.assert_quiet()


def test_a_megabyte_without_spaces_is_shown_in_pieces(browser, write):
    text = "x" * 1_000_000 + "end"
    bodies = {}
    exchange = make_exchange(messages=[{"role": "user", "text": keep(bodies, text)}])
    report = make_report([make_test("test_long", [exchange], failure=keep(bodies, text))], bodies)
    tab = Tab(browser, viewport=PHONE)
    tab.open(write(report), "#test=tests/test_notes.py::test_long")
    said = tab.page.locator(".message.user .text")
    assert said.evaluate("(one) => one.textContent.length") < 10_000
    tab.page.locator(".message.user .more").click()
    assert said.evaluate("(one) => one.textContent.length") > 100_000
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tab.assert_quiet()


def test_of_a_large_answer_the_page_says_what_is_missing_and_where_it_is_whole(browser, write):
    bodies = {"large": {"text": "data: begin\n\n", "end": "data: end\n\n", "cut": 6_000_000}}
    body = {"response_body": {"key": "large", "size": 6_500_000}, "answer_left_out": 2_300_000}
    tests = [
        make_test("test_stored", [make_exchange(**body)]),
        make_test("test_live", [make_exchange(source="live", states=["live"], cassette=None, number=None, **body)]),
        make_test("test_small", [make_exchange()]),
    ]
    tab = Tab(browser)
    path = write(make_report(tests, bodies))
    tab.open(path, "#test=tests/test_notes.py::test_stored")
    told = "This answer has 6.5 MB. 2.3 MB of it were not read, so the conversation here is not complete. "
    assert tab.text(".left-out") == f"{told}The whole answer is stored in cassettes/test_notes.yaml:4 number 1."
    tab.unfold(tab.page.locator("summary", has_text="Raw answer"))
    assert "6.0 MB are left out here" in tab.text(".events li:nth-child(2)")
    assert "end" in tab.text(".events li:nth-child(3)")
    tab.open(path, "#test=tests/test_notes.py::test_live")
    assert tab.text(".left-out") == f"{told}The whole answer is not stored."
    tab.open(path, "#test=tests/test_notes.py::test_small")
    assert tab.page.locator(".left-out").count() == 0
    tab.assert_quiet()


def test_a_run_of_two_thousand_tests_is_drawn_as_it_is_opened(browser, write):
    tab = Tab(browser)
    tab.open(write(make_long_run(2000, 11_000_000)))
    assert tab.page.locator("#tests .row").count() <= 360
    assert tab.page.locator(".exchange").count() == 0
    for _ in range(3):
        drawn = tab.page.locator("#tests .row").count()
        tab.page.evaluate("document.querySelector('#tests').scrollTo(0, 1e9)")
        tab.page.wait_for_function("(drawn) => document.querySelectorAll('#tests .row').length > drawn", arg=drawn)
    tab.page.fill("#search", "unique-1777 ")
    tab.wait_for("1 of 2,000 tests", "#count")
    assert names(tab) == ["test_number[1777]"]
    tab.page.click("#tests a.row")
    tab.wait_for("unique-1777")
    tab.page.click("#clear")
    tab.page.wait_for_function(
        "() => document.querySelectorAll('#tests .row').length > 1777"
    )  # the open one is among them
    assert tab.page.locator(".row[aria-current] .row-name").inner_text() == "test_number[1777]"
    tab.assert_quiet()


def test_a_word_that_is_typed_finds_what_it_finds_at_once(browser, write):
    path = write(make_long_run(60, 400_000))
    tab, fresh = Tab(browser), Tab(browser)
    tab.open(path)
    for query in (
        "u",
        "uniq",
        "unique-1",
        "unique-17 ",
        "unique-17",
        "unique-1",
        "test_number[4",
        "nothing like it",
        "",
        "e-5",
    ):
        tab.page.fill("#search", query)
        fresh.open(path)
        fresh.page.fill("#search", query)
        for one in (tab, fresh):
            one.page.wait_for_function(
                "(query) => decodeURIComponent(location.hash).includes(query)", arg=f"q={query}" * bool(query)
            )
        assert tab.text("#count") == fresh.text("#count"), query
        assert names(tab) == names(fresh), query
    tab.assert_quiet()


def test_the_drift_can_be_drawn_by_another_page(browser, tmp_path):
    start = """
      const drift = JSON.parse(document.getElementById("drift").textContent);
      document.body.append(drawDrift(drift, (text) => text));
      document.body.append(drawWords([["same", "a "], ["removed", "b"], ["added", "c"]]));
    """
    script, style = join_scripts("elements.js", "drift.js", more=start), read_parts("base.css", "drift.css")
    drift = {"cassette": "<c>", "number": 2, "group": "g", "changes": [], "prompt_was": "one", "prompt_now": "two"}
    page = tmp_path / "other.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy_for(script, style)}"><style>{style}</style><body>'
        f'<script type="application/json" id="drift">{write_json(drift)}</script><script>{script}</script>',
        encoding="utf-8",
    )
    tab = Tab(browser)
    tab.open(page)
    assert tab.page.locator(".drift del").text_content() == "removed: −one "
    assert tab.page.locator(".words").nth(1).text_content() == "a removed: −b added: +c "
    tab.assert_quiet()


def test_a_page_without_scripts_says_so(browser, sample):
    tab = Tab(browser, java_script_enabled=False)
    tab.page.goto(f"file://{sample}")
    assert "Allow scripts" in tab.text("body")


def test_what_is_shown_can_be_printed(browser, sample):
    tab = Tab(browser)
    tab.open(sample, "#test=tests/test_planning.py::test_finds_people")
    tab.page.emulate_media(media="print")
    assert not tab.page.locator("#side").is_visible()
    assert tab.page.locator(".exchange").first.is_visible()
    assert base64.b64encode(tab.page.pdf())[:4] == b"JVBE"
    tab.assert_quiet()
