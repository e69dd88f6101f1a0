"""The page of jobs: what it shows, whom it answers, and what it does for whom."""

import datetime as dt
import json
import re
from html import unescape
from types import SimpleNamespace

import jinja2
import pytest
import time_machine
from huey.exceptions import HueyException
from huey.signals import SIGNAL_ERROR
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

import aquila
from aquila import tool
from aquila.errors import ConfigError, TaskError
from aquila.huey import MemoryHuey, checkpoint
from aquila.huey.delivery.burying import bury_lost, bury_unreadable
from aquila.huey.live import app, job_index, pausing, subscribe
from aquila.huey.live.events import append_batch, encode_batch
from aquila.huey.live.job_view import JobView
from aquila.huey.live.page import actions, contents, page_events
from aquila.huey.live.pausing import is_paused
from aquila.huey.live.summaries import JOBS_TABLE
from aquila.huey.state import state_of
from aquila.huey.tasks.running_task import current_task
from tests.huey.live.conftest import Provider, consumer
from tests.huey.live.test_job_index import beat, put
from tests.support.provider import chat_stream, one_call

TOKEN = "a-token-that-nobody-knows"
HOST = "http://127.0.0.1:8378"
KEY = "sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"
SECRET = "hunter2-hunter2"
HOUR = 3600.0  # Seconds.
PROMPT = "<b onmouseover=alert(1)>eagles</b> & </pre><script>alert(2)</script>"


@pytest.fixture
def huey(published):
    return published()


@pytest.fixture
def write(huey):
    @huey.task(name="write")
    def write(topic):
        huey.publisher.note_text(current_task(), "text", f"About {topic}.")
        if topic == "fail":
            raise ValueError(f"it failed over {PROMPT}")

    return write


def run(huey, *results):
    with consumer(huey):
        return [list(subscribe(huey, result, timeout=60)) for result in results]


def client_of(huey, **options):
    return TestClient(app(huey, **options), base_url=HOST)


def page_of(huey, result):
    return f"/job?queue={huey.name}&id={result.id}"


def signed_in(huey, **options):
    client = client_of(huey, token=TOKEN, **options)
    form = form_value(client.get("/sign-in").text)
    answer = client.post("/sign-in", data={"form": form, "token": TOKEN}, headers=own_page())
    assert answer.status_code == 200
    return client


def form_value(html):
    return re.search(r'name="form" value="([^"]+)"', html)[1]


def own_page(**headers):
    return {"origin": HOST, "sec-fetch-site": "same-origin", **headers}


def act(client, action, huey, result=None, **changes):
    data = {"form": form_value(client.get("/").text), "queue": huey.name, "action": action}
    data |= {"id": result.id} if result else {}
    return client.post("/act", data=data | changes, headers=own_page(), follow_redirects=False)


@pytest.mark.parametrize("token", ["", " ", "short", "a token that has spaces in it"])
def test_a_token_that_anybody_can_guess_is_refused(huey, token):
    with pytest.raises(ConfigError, match="token="):
        app(huey, token=token)


def test_the_overview_names_jobs_with_their_states(huey, write):
    results = [write("eagles"), write("fail")]
    run(huey, *results)
    html = client_of(huey).get("/").text
    assert all(result.id[:8] in html for result in results)
    assert "ValueError: it failed over" in html
    assert "About eagles." in html
    failed = client_of(huey).get("/?state=failed").text
    assert results[1].id in failed
    assert results[0].id not in failed
    assert results[0].id in client_of(huey).get("/?q=EAGLES&name=&page=x&state=odd").text


def test_a_page_behind_the_last_one_shows_the_last(huey, write, monkeypatch):
    monkeypatch.setattr(contents, "PAGE", 2)
    results = [write("eagles") for _ in range(3)]
    client = client_of(huey)
    last = client.get("/?page=2").text
    beyond = client.get("/?page=9").text
    for html in (last, beyond):
        assert [result.id in html for result in results] == [True, False, False]
        assert "3 – 3 of 3" in html
        assert 'href="/?" rel="prev"' in html


def rates_of(client):
    """What the overview says of the last minute, and how many bars of each kind its chart has."""
    html = client.get("/").text
    legend = re.search(r'<p class="legend">(.*?)</p>', html, re.S)[1]
    words = " ".join(re.sub(r"<[^>]+>", " ", legend).split())
    return words, html.count('<rect class="done"'), html.count('<rect class="failed"'), html.count('<rect class="slot"')


def test_the_overview_counts_the_jobs_that_wait_and_those_that_are_due_later(huey, write):
    def counts():
        html = client_of(huey).get("/").text
        return [re.search(rf'<dt>{name}</dt><dd class="number">(\d+)<', html)[1] for name in ("Waiting", "Due later")]

    assert counts() == ["0", "0"]
    write("eagles")
    write("kites")
    huey.add_schedule(write.s("owls", eta=dt.datetime(2100, 1, 1)))
    assert counts() == ["2", "1"]
    write.schedule(("herons",), eta=dt.datetime.max.replace(tzinfo=dt.UTC))
    assert counts() == ["3", "1"]


def test_the_overview_counts_the_jobs_that_ended_in_the_last_minute_and_hour(huey, write, clocks, monkeypatch):
    clocks.set_by = 90 - state_of(huey).now() % 60  # Within a minute: no test sees it turn.
    monkeypatch.setattr(job_index, "_LOOK_EVERY", 0.0)
    client = client_of(huey)
    assert rates_of(client) == ("0 done 0 failed in the last minute", 0, 0, 60)
    run(huey, *map(write, ["eagles", "kites", "owls", "fail", "fail"]))
    waiting = write("herons")
    assert rates_of(client) == ("3 done 2 failed in the last minute", 1, 1, 60)
    clocks.passed = 120.0
    huey.publisher.clock._until = float("-inf")  # It asks the storage again.
    run(huey, waiting)
    assert rates_of(client) == ("1 done 0 failed in the last minute", 2, 1, 60)
    clocks.passed = 3_500.0
    assert rates_of(client) == ("0 done 0 failed in the last minute", 2, 1, 60)
    clocks.passed = 3_600.0
    assert rates_of(client) == ("0 done 0 failed in the last minute", 1, 0, 60)
    assert rates_of(client_of(huey)) == rates_of(client)


def test_a_job_has_a_page_with_its_answer_and_its_error(huey, write):
    result = write("fail")
    run(huey, result)
    html = client_of(huey).get(page_of(huey, result)).text
    for text in ("About fail.", "ValueError: it failed over", "Traceback", "Failed", "&#34;topic&#34;: &#34;fail&#34;"):
        assert text in html


def facts_of(html):
    """The list of facts of a job's page, by their names."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", html, re.S)
    return {name: " ".join(re.sub(r"<[^>]+>", "", value).split()) for name, value in pairs}


def ask_for_the_weather(huey, clocks):
    """Run a job that waits 7 hours, and in 5 hours calls a tool, asks a model twice, keeps a checkpoint and fails."""
    answers = iter([one_call("weather", '{"city": "Ulm"}'), chat_stream("Clear over ", "Ulm.")])

    class Answers(Provider):
        def chunks(self):
            yield next(answers)

    @tool
    def weather(city: str) -> dict:
        """The weather."""
        clocks.passed += 3 * HOUR
        return {"sky": "cloudless"}

    @huey.task(name="report", retries=1, retry_delay=3600)
    def report(topic):
        text = aquila.ask("Weather in Ulm?", model="kestrel-1", tools=[weather], transport=Answers()).text
        checkpoint("draft", {"headline": "Sun all day", "answer": text})
        clocks.passed += 2 * HOUR
        huey.publisher.clock._until = float("-inf")
        raise ValueError("the archive is closed")

    result = report("forecast")
    clocks.passed += 7 * HOUR
    huey.publisher.clock._until = float("-inf")
    with consumer(huey):
        for event in subscribe(huey, result, timeout=60):
            if event.kind == "retry":
                break
    return result


def test_the_page_of_a_job_has_its_tools_times_tokens_cost_and_checkpoint(published, clocks):
    huey = published(price=lambda model, usage: usage.total_tokens * 0.25)
    result = ask_for_the_weather(huey, clocks)
    html = client_of(huey).get(page_of(huey, result)).text
    facts = facts_of(html)
    assert facts["Waited"] == "7 h 0 min"
    assert facts["Took"] == "5 h 0 min"
    assert facts["Attempt"] == "1 of 2"
    assert facts["Model"] == "test-model"
    assert facts["Requests"] == "2"
    assert facts["Tokens"] == "10 in, 4 out"
    assert facts["Cost"] == "3.50"
    tool_call = re.search(r'<details class="tool".*?</details>', html, re.S)[0]
    assert "<b>weather</b>" in tool_call
    assert re.search(r'<span class="quiet">[\d.]+ (ms|s)</span>', tool_call)
    data = [json.loads(unescape(text)) for text in re.findall(r'<pre class="data">(.*?)</pre>', tool_call, re.S)]
    assert data == [{"city": "Ulm"}, {"sky": "cloudless"}]
    kept = re.search(r'<h2>Checkpoints</h2><pre class="data">(.*?)</pre>', html, re.S)[1]
    assert json.loads(unescape(kept)) == {"draft": {"headline": "Sun all day", "answer": "Clear over Ulm."}}
    assert re.search(r'data-kind="text">Clear over Ulm\.</pre>', html)
    steps = re.search(r'<details class="steps".*?</details>', html, re.S)[0]
    assert steps.count("5 + 2 tokens") == 2
    assert "kestrel-1" in steps
    assert "tried again" in html
    assert "ValueError: the archive is closed" in html


def test_without_content_the_page_of_a_job_has_its_numbers_and_none_of_its_text(published, clocks):
    huey = published(content=False, price=lambda model, usage: usage.total_tokens * 0.25)
    result = ask_for_the_weather(huey, clocks)
    client = client_of(huey)
    html = client.get(page_of(huey, result)).text
    facts = facts_of(html)
    assert (facts["Tokens"], facts["Cost"], facts["Requests"]) == ("10 in, 4 out", "3.50", "2")
    assert facts["Waited"] == "7 h 0 min"
    assert "<b>weather</b>" in html
    assert "draft" in html
    for page in (html, client.get("/").text, "".join(map(str, collect(app(huey), live_path_of(huey, result), {})))):
        assert not re.search("forecast|Ulm|cloudless|Sun all day|Clear over", page)
    assert result.id in client.get("/?q=report").text
    for word in ("forecast", "Ulm"):
        assert result.id not in client.get(f"/?q={word}").text


def live_path_of(huey, result):
    return f"/job/live?queue={huey.name}&id={result.id}"


def test_no_page_shows_the_secrets_in_arguments_and_checkpoints(huey):
    @huey.task(name="deploy", retries=1, retry_delay=3600)
    def deploy(topic, password, options):
        checkpoint("session", {"user": "eagle", "api_key": SECRET, "note": f"signed with {KEY}"})
        checkpoint("secret", SECRET)
        raise ValueError(f"refused {KEY}")

    result = deploy("the shop", SECRET, {"nested": [{"token": SECRET}, f"Bearer {KEY}"]})
    client = client_of(huey)
    pages = [client.get(path).text for path in ("/", page_of(huey, result))]  # while it waits
    with consumer(huey):
        for event in subscribe(huey, result, timeout=60):
            if event.kind == "retry":
                break
    pages += [client_of(huey).get(path).text for path in ("/", page_of(huey, result))]
    pages.append("".join(map(str, collect(app(huey), live_path_of(huey, result), {}))))
    for page in pages:
        assert SECRET not in page
        assert KEY[8:20] not in page
    assert "the shop" in pages[1]
    kept = re.search(r'<h2>Checkpoints</h2><pre class="data">(.*?)</pre>', pages[3], re.S)[1]
    session = {"user": "eagle", "api_key": "[redacted]", "note": "signed with [redacted]"}
    assert json.loads(unescape(kept)) == {"session": session, "secret": "[redacted]"}


def test_an_unknown_job_has_no_page(huey):
    client = client_of(huey)
    for path in ("/job?queue=other&id=x", f"/job?queue={huey.name}&id=x", "/nothing", "/job"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "There is no such job or page" in answer.text


def test_html_in_prompts_errors_and_names_stays_text(huey, write):
    results = [write(PROMPT), write("fail")]
    run(huey, *results)
    client = client_of(huey)
    pages = [client.get(path).text for path in ("/", "/?q=" + PROMPT, *(page_of(huey, result) for result in results))]
    for html in pages:
        assert "<b onmouseover" not in html
        assert "<script>alert" not in html
    assert "&lt;script&gt;alert(2)" in pages[2]


def test_ids_may_be_any_text(huey, write):
    task = write.s("eagles")
    task.id = "a/b?c=d&e#f ü%2F"
    huey.enqueue(task)
    client = client_of(huey)
    link = re.search(r'href="(/job\?[^"]+)"', client.get("/").text)[1].replace("&amp;", "&")
    assert "Queued" in client.get(link).text


def test_a_page_of_many_jobs_leads_to_the_older_ones(huey, write):
    results = [write(f"topic {number}") for number in range(120)]
    client, seen, path = client_of(huey), [], "/"
    for _ in range(3):
        html = client.get(path).text
        seen += re.findall(r'id="job-([^"]+)"', html)
        older = re.search(r'id="older" href="([^"]+)"', html)
        path = older[1].replace("&amp;", "&") if older else None
    assert seen == [result.id for result in reversed(results)]
    assert path is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8378"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe", "sec-fetch-mode": "navigate"},
    ],
)
def test_pages_of_strangers_are_not_answered(huey, write, headers):
    result = write("eagles")
    client = client_of(huey)
    for path in ("/", page_of(huey, result), "/live", "/static/jobs.js", "/sign-in"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403
        assert "eagles" not in answer.text


def test_the_application_begins_and_ends_as_a_server_asks_it_to(huey):
    with client_of(huey) as client:
        assert client.get("/").status_code == 200


def test_a_link_from_elsewhere_can_be_followed(huey):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}
    assert client_of(huey).get("/", headers=headers).status_code == 200
    assert client_of(huey).post("/act", headers=headers).status_code == 403


def test_a_name_of_the_users_is_answered(huey):
    client = client_of(huey, hosts=["jobs.example.com"])
    assert client.get("/", headers={"host": "jobs.example.com"}).status_code == 200
    assert client.get("/", headers={"host": "other.example.com"}).status_code == 403


def test_every_answer_has_the_header_fields_that_keep_a_page_alone(huey):
    client = client_of(huey)
    for path in ("/", "/nothing", "/static/jobs.css", "/sign-in"):
        headers = client.get(path).headers
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/").headers["cache-control"] == "no-store"
    cookie = client_of(huey).get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie  # A strict one is not sent by who follows a link to a job.


def test_a_page_asks_for_nothing_from_elsewhere(huey, write):
    run(huey, result := write("eagles"))
    client = client_of(huey)
    for path in ("/", page_of(huey, result), "/sign-in", "/static/jobs.css", "/static/jobs.js", "/static/mark.svg"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]|@import|url\(|style=|\bon[a-z]+=[\"']", text.replace("// ", "")), path


def test_without_a_token_nobody_can_act(huey, write):
    result = write("eagles")
    client = client_of(huey)
    html = client.get(page_of(huey, result)).text
    assert "<form" not in html.replace('<form class="filter"', "")
    for action in ("cancel", "delete", "retry", "pause"):
        assert act_without_form(client, action, huey, result).status_code == 403
    assert not huey.is_revoked(result)


def act_without_form(client, action, huey, result, **headers):
    data = {"queue": huey.name, "id": result.id, "action": action}
    return client.post("/act", data=data, headers=own_page(**headers))


def test_a_signed_in_user_can_cancel_a_job(huey, write):
    result = write("eagles")
    client = signed_in(huey)
    assert "Cancel" in client.get(page_of(huey, result)).text
    answer = act(client, "cancel", huey, result)
    assert (answer.status_code, answer.headers["location"]) == (303, page_of(huey, result))
    assert huey.is_revoked(result)
    [events] = run(huey, result)
    assert [event.kind for event in events] == ["queued", "canceled"]
    assert act(client, "cancel", huey, result).status_code == 409


def test_a_job_that_failed_can_be_tried_again(huey, monkeypatch):
    outcomes = iter([ValueError(), None])

    @huey.task(name="sometimes")
    def sometimes(topic):
        if (error := next(outcomes)) is not None:
            raise error

    result = sometimes("eagles")
    [first] = run(huey, result)
    client = signed_in(huey)
    assert "Retry" in client.get(page_of(huey, result)).text
    assert "Dead letters" in client.get("/").text
    woken = []
    monkeypatch.setattr(actions, "wake_subscribers", lambda place, jobs: woken.append((place, jobs)))
    assert act(client, "retry", huey, result).status_code == 303
    assert woken == [(huey, [result.id])]
    assert "Failed" not in client.get(page_of(huey, result)).text
    with consumer(huey):
        second = list(subscribe(huey, result, after=first[-1].number, timeout=60))
    assert [event.kind for event in second] == ["queued", "started", "done"]
    assert "Done" in client.get(page_of(huey, result)).text
    assert act(client, "retry", huey, result).status_code == 409


def test_a_retry_that_ends_before_the_page_notes_it_stays_ended(huey, monkeypatch):
    outcomes = iter([ValueError(), None])

    @huey.task(name="sometimes")
    def sometimes():
        if (error := next(outcomes)) is not None:
            raise error

    def execute():
        huey.execute(huey.dequeue())
        huey.publisher.store.flush()

    result = sometimes()
    execute()
    note = actions._note_retry
    monkeypatch.setattr(actions, "_note_retry", lambda *about: (execute(), note(*about)))
    client = signed_in(huey)
    assert act(client, "retry", huey, result).status_code == 303
    assert "Done" in client.get(page_of(huey, result)).text
    assert "done" in [event.kind for event in subscribe(huey, result, timeout=60)]


def test_a_job_that_waits_for_its_retry_cannot_be_deleted(huey, write):
    result = write("fail")
    run(huey, result)
    client = signed_in(huey)
    assert act(client, "retry", huey, result).status_code == 303
    assert act(client, "delete", huey, result).status_code == 409
    assert state_of(huey).get(JOBS_TABLE, result.id) is not None


def test_a_job_that_ended_can_be_deleted(huey, write):
    result, waiting = write("eagles"), write.schedule(args=("kites",), delay=3600)
    run(huey, result)
    huey.put_result(result.id, "its result")
    client = signed_in(huey)
    assert act(client, "delete", huey, result).status_code == 303
    assert state_of(huey).get(JOBS_TABLE, result.id) is None
    assert result.get() is None
    assert result.id not in client.get("/").text
    assert act(client, "delete", huey, waiting).status_code == 409


@pytest.mark.parametrize(("silent_for", "answer"), [(0.0, 409), (60.0, 303)], ids=["running", "of a lost worker"])
def test_a_job_can_be_deleted_unless_it_runs(huey, silent_for, answer):
    beat(huey, silent_for=silent_for)
    job = SimpleNamespace(id=put(huey, 1, "running"))
    assert act(signed_in(huey), "delete", huey, job).status_code == answer


@pytest.mark.parametrize("state", ["interrupted", "running"], ids=["handed back", "of a lost worker that kept it"])
def test_an_interrupted_job_that_waits_again_can_be_deleted_when_it_was_canceled(huey, state):
    huey.keep_running = state == "running"
    job = SimpleNamespace(id=put(huey, 1, state))
    client = signed_in(huey)
    assert re.findall('value="(cancel|delete)"', client.get(page_of(huey, job)).text) == ["cancel"]
    assert act(client, "delete", huey, job).status_code == 409
    assert act(client, "cancel", huey, job).status_code == 303
    assert re.findall('value="(cancel|delete)"', client.get(page_of(huey, job)).text) == ["delete"]
    assert act(client, "delete", huey, job).status_code == 303


def test_a_queue_can_be_paused_and_resumed(huey, write):
    client = signed_in(huey)
    assert act(client, "pause", huey).status_code == 303
    assert is_paused(huey)
    assert "Paused" in client.get("/").text
    result = write("eagles")
    assert huey.dequeue() is None
    assert act(client, "resume", huey).status_code == 303
    huey.publisher.store.pausing._looked = float("-inf")
    assert huey.dequeue().id == result.id


def test_workers_notice_within_two_seconds_that_a_queue_is_paused_and_resumed(huey, write, monkeypatch):
    result, now = write("eagles"), [1000.0]
    monkeypatch.setattr(pausing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert not huey.publisher.is_paused()
    pausing.pause_queue(huey)
    now[0] += 1.9
    assert huey.dequeue() is None
    pausing.resume_queue(huey)
    now[0] += 1.9
    assert huey.dequeue().id == result.id


def test_words_are_searched_in_the_beginning_of_arguments_and_not_in_answers(huey, write):
    results = [write("eagles"), write("x" * 200 + " owl"), write("x" * 300 + " heron")]
    run(huey, *results)
    client = client_of(huey)
    found = {word: client.get(f"/?q={word}").text.count('id="job-') for word in ("eagles", "owl", "heron", "about")}
    assert found == {"eagles": 1, "owl": 1, "heron": 0, "about": 0}


@pytest.mark.parametrize("change", [{"form": ""}, {"form": "x" * 43}, {"form": None}])
def test_a_form_of_another_page_does_nothing(huey, write, change):
    result = write("eagles")
    client = signed_in(huey)
    assert act(client, "cancel", huey, result, **change).status_code == 403
    assert not huey.is_revoked(result)


def test_a_form_still_works_after_another_page_was_opened(huey, write):
    result = write("eagles")
    client = signed_in(huey)
    act(client, "cancel", huey, result, form=form_value(client.get("/").text))
    assert huey.is_revoked(result)


def test_a_form_without_its_cookie_does_nothing(huey, write):
    result = write("eagles")
    client = signed_in(huey)
    client.cookies.delete("aquila_jobs_form")
    data = {"form": "", "queue": huey.name, "action": "cancel", "id": result.id}
    assert client.post("/act", data=data, headers=own_page()).status_code == 403
    assert not huey.is_revoked(result)


def test_a_session_ends_after_twelve_hours(huey):
    client = signed_in(huey)
    session = client.cookies["aquila_jobs_session"]
    for hours, shown in ((11.9, True), (12.1, False)):
        with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)):
            client.cookies.set("aquila_jobs_session", session)  # A browser forgets it; who has copied it does not.
            assert ("Pause" in client.get("/").text) is shown


def test_a_form_that_no_page_of_this_server_sent_does_nothing(huey, write):
    result = write("eagles")
    client = signed_in(huey)
    data = {"form": form_value(client.get("/").text), "queue": huey.name, "action": "cancel", "id": result.id}
    assert client.post("/act", data=data).status_code == 403
    assert client.post("/act", data=data, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/act").status_code == 404
    assert not huey.is_revoked(result)


def test_a_program_acts_by_the_token_alone(huey, write):
    result = write("eagles")
    client = client_of(huey, token=TOKEN)
    assert act_without_form(client, "cancel", huey, result, **{"x-aquila-token": "wrong"}).status_code == 403
    assert act_without_form(client, "cancel", huey, result, **{"x-aquila-token": TOKEN}).status_code == 200
    assert huey.is_revoked(result)


def test_reading_can_need_the_token(huey, write):
    result = write("eagles")
    client = client_of(huey, token=TOKEN, reading_needs_token=True)
    for path in ("/", page_of(huey, result), f"/job/live?queue={huey.name}&id={result.id}", "/live"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert "eagles" not in answer.text
    assert "eagles" in signed_in(huey, reading_needs_token=True).get("/").text
    assert "eagles" in client.get("/", headers={"x-aquila-token": TOKEN}).text


def test_a_wrong_token_signs_nobody_in(huey):
    client = client_of(huey, token=TOKEN)
    form = form_value(client.get("/sign-in").text)
    for token in ("", "wrong", TOKEN[:-1]):
        answer = client.post("/sign-in", data={"form": form, "token": token}, headers=own_page())
        assert answer.status_code == 403
    assert client.cookies.get("aquila_jobs_session") is None
    for cookie in ("9999999999.", "9999999999." + "0" * 64, "x.y", "99999999999999999999.z"):
        client.cookies.set("aquila_jobs_session", cookie)
        assert "Pause" not in client.get("/").text


def test_signing_in_leads_to_the_page_that_was_asked_for(huey, write):
    result = write("eagles")
    for path in (page_of(huey, result), f"/?queue={huey.name}&state=queued&q=%26a%0D%0Ab", "/"):
        client = client_of(huey, token=TOKEN, reading_needs_token=True)
        html = client.get(path).text
        for token in ("wrong", TOKEN):
            data = {"form": form_value(html), "token": token}
            answer = client.post(unescape(re.search(r'action="([^"]+)"', html)[1]), data=data, headers=own_page())
            html = answer.text
        assert (answer.status_code, answer.url) == (200, HOST + path)
    html = client_of(huey, token=TOKEN).get(page_of(huey, result)).text
    assert f"/sign-in?queue={huey.name}&id={result.id}" in unescape(html)


def test_an_application_decides_for_itself(huey, write):
    levels = {"ada": "act", "bob": "read"}
    client = client_of(huey, token=TOKEN, decide=lambda request: levels.get(request.headers.get("x-user"), "none"))
    assert client.get("/").status_code == 403
    assert "Pause" not in client.get("/", headers={"x-user": "bob"}).text
    assert "Pause" in client.get("/", headers={"x-user": "ada"}).text
    assert client.get("/", headers={"x-aquila-token": TOKEN}).status_code == 403


def test_it_can_be_mounted_under_any_path(huey, write):
    result = write("eagles")
    outer = Starlette(routes=[Mount("/intern/jobs", app(huey, token=TOKEN))])
    client = TestClient(outer, base_url=HOST)
    html = client.get("/intern/jobs/").text
    links = re.findall(r'(?:href|src|action|data-live)="([^"]*)"', html)
    assert all(link.startswith(("/intern/jobs/", "#")) for link in links)
    for link in {link.replace("&amp;", "&") for link in links if link[0] == "/" and not link.endswith("/live")}:
        assert client.get(link).status_code == 200
    assert client.get("/intern/jobs" + page_of(huey, result)).status_code == 200


def test_it_can_stand_beside_an_application_that_mounts_nothing(huey, write):
    result, jobs = write("eagles"), app(huey, token=TOKEN, reading_needs_token=True)

    async def django(scope, receive, send):
        await PlainTextResponse("shop")(scope, receive, send)

    async def application(scope, receive, send):  # as the documentation has it
        if scope["type"] == "http" and f"{scope['path']}/".startswith("/intern/jobs/"):
            await jobs({**scope, "root_path": "/intern/jobs"}, receive, send)
        else:
            await django(scope, receive, send)

    client = TestClient(application, base_url=HOST)
    assert client.get("/").text == "shop"
    assert client.get("/intern/jobs").url.path == "/intern/jobs/"
    assert client.get("/intern/jobs/").status_code == 401
    form = re.search(r'name="form" value="([^"]*)"', client.get("/intern/jobs/sign-in").text)[1]
    answer = client.post("/intern/jobs/sign-in", data={"form": form, "token": TOKEN}, headers=own_page())
    assert answer.url.path == "/intern/jobs/"
    assert client.get("/intern/jobs" + page_of(huey, result)).status_code == 200


def test_several_queues_are_shown_side_by_side(published):
    first, second = published(), published()
    client = TestClient(app(first, second), base_url=HOST)
    assert all(f"?queue={huey.name}" in client.get("/").text for huey in (first, second))
    assert f"Jobs of {second.name}" in client.get(f"/?queue={second.name}").text


def test_a_huey_that_the_page_cannot_show_is_refused(published):
    for hueys in ((), (object(),), (MemoryHuey("x"), MemoryHuey("x"))):
        with pytest.raises(ConfigError):
            app(*hueys)


def test_a_storage_that_is_away_is_said_and_looked_for_again(huey, monkeypatch):
    client = client_of(huey)
    monkeypatch.setattr(state_of(huey), "entries", lambda *args, **options: 1 / 0)
    answer = client.get("/")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert 'http-equiv="refresh"' in answer.text
    monkeypatch.undo()
    assert client.get("/").status_code == 200
    monkeypatch.setattr(state_of(huey), "put", lambda *args, **options: 1 / 0)
    answer = act(signed_in(huey), "pause", huey)
    assert answer.status_code == 503
    assert 'http-equiv="refresh"' not in answer.text  # that would ask for a page where there is only an action


def test_open_pages_end_quietly_where_the_storage_is_away_and_one_line_says_so(huey, monkeypatch, caplog):
    client = client_of(huey)
    for method in ("entries", "get"):
        monkeypatch.setattr(state_of(huey), method, lambda *args, **options: 1 / 0)
    for _ in range(3):
        assert client.get("/live").text == "retry: 1000\n\n"
        assert client.get(f"/job/live?queue={huey.name}&id=any").text == "retry: 1000\n\n"
    [said] = [record.getMessage() for record in caplog.records if record.name == "huey.aquila"]
    assert said.startswith(f"the page of the queue {huey.name!r}: the storage does not answer (ZeroDivisionError")


@pytest.mark.parametrize("kind", [AttributeError, KeyError, TypeError, jinja2.UndefinedError])
def test_a_fault_of_the_page_is_not_taken_for_one_of_the_storage(huey, monkeypatch, caplog, kind):
    def fail(*args, **options):
        raise kind("a fault")

    client = client_of(huey)
    monkeypatch.setattr(state_of(huey), "entries", fail)
    for path in ("/", "/live"):
        with pytest.raises(kind, match="a fault"):
            client.get(path)
    assert not caplog.records


def test_a_form_that_is_too_large_does_nothing(huey, write):
    result = write("eagles")
    assert act(signed_in(huey), "cancel", huey, result, more="x" * 5000).status_code == 403
    assert not huey.is_revoked(result)


def test_odd_parameters_of_a_request_are_no_error(huey, write):
    client = client_of(huey)
    for path in (
        "/?page=-1",
        "/?page=0",
        "/?page=99999999999",
        "/?q=%00%ff",
        "/?state=%3Cb%3E",
        "/?name=" + "x" * 5000,
    ):
        assert client.get(path).status_code == 200
    assert client.post("/act", content=b"\xff" * 100_000, headers=own_page()).status_code == 403


def read_events(text):
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]


def test_a_stream_goes_on_after_the_event_that_a_browser_names(huey, write):
    result = write("eagles")
    [events] = run(huey, result)
    path = f"/job/live?queue={huey.name}&id={result.id}"
    answers, job = ("answers", str(events[-1].number)), ("job", None)
    seen = {
        after: [
            (message["event"], message.get("id"))
            for message in collect(app(huey), path, {"last-event-id": str(after)})[1:]
        ]
        for after in (0, events[-2].number, events[-1].number)
    }
    assert list(seen.values()) == [[answers, job], [answers, job], [job]]


def collect(page, path, headers):
    """The first messages of a stream, up to a part that ends each look."""
    import anyio

    raw_path, _, query = path.partition("?")
    body, enough = [], "event: job"

    async def call():
        scope = {
            "type": "http", "method": "GET", "path": raw_path, "raw_path": raw_path.encode(), "root_path": "",
            "query_string": query.encode(), "scheme": "http", "server": ("127.0.0.1", 8378), "http_version": "1.1",
            "headers": [(b"host", b"127.0.0.1:8378"), *((k.encode(), v.encode()) for k, v in headers.items())],
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }  # fmt: skip
        with anyio.CancelScope() as scope_of_call:

            async def send(message):
                body.append(message.get("body", b"").decode())
                if enough in body[-1]:
                    scope_of_call.cancel()

            async def receive():
                await anyio.sleep_forever()

            await page(scope, receive, send)

    anyio.run(call)
    return read_events("".join(body))


def test_streams_are_bounded():
    async def nothing():
        yield "", None, None

    seats = page_events.StreamSeats(0)
    answer = seats.respond(nothing)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"


def test_a_message_is_one_line_whatever_it_says():
    assert page_events.write_message("text", {"text": "a\nb\r\ndata: c\u2028"}, 7) == (
        'event: text\nid: 7\ndata: {"text": "a\\nb\\r\\ndata: c\\u2028"}\n\n'
    )


def test_a_job_that_is_given_up_has_failed_and_can_be_tried_again(huey, write):
    result = write("eagles")
    task = huey.dequeue()
    message = f"not finished 3 times: {PROMPT}"
    bury_lost(huey, task, message)
    huey._emit(SIGNAL_ERROR, task, TaskError(message))
    assert [event.kind for event in subscribe(huey, result, timeout=60)] == ["queued", "failed"]
    client = signed_in(huey)
    html = client.get(page_of(huey, result)).text
    assert "not finished 3 times" in html
    assert 'value="retry"' in html
    assert act(client, "retry", huey, result).status_code == 303
    [*_, events] = run(huey, result)
    assert events[-1].kind == "done"


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_job_that_a_worker_gives_up_has_failed_and_does_not_run(huey, write, end):
    task = write.s("eagles").then(write)
    task._aquila_losses = 3
    huey.enqueue(task)
    if end == "canceled":
        huey.revoke(task, revoke_once=True)
    huey.execute(huey.dequeue())
    assert [event.kind for event in subscribe(huey, task, timeout=60)] == ["queued", end]
    assert not huey.is_revoked(task)
    huey.publisher.store.flush()
    assert huey.publisher.records == {}


def test_a_job_whose_task_no_worker_knows_has_failed(huey, write):
    result = write("eagles")
    [data] = huey.storage.enqueued_items()
    bury_unreadable(huey, data, HueyException("not registered"))
    events = list(subscribe(huey, result, timeout=60))
    assert [event.kind for event in events] == ["queued", "failed"]
    assert "no task" in events[-1].data["error"]
    assert 'value="retry"' in signed_in(huey).get(page_of(huey, result)).text


def test_half_characters_in_what_is_stored_are_shown_somehow(huey, write):
    result = write("eagles")
    run(huey, result)
    data = b'{"error":"x","text":"\\ud800"}'
    events = b'[["started",1,{"arguments":"[\\"\\\\ud800\\"]"}],["text",2,%s],["failed",3,%s]]' % (data, data)
    append_batch(state_of(huey), result.id, b'["w","run",%s]' % events)
    assert client_of(huey).get(page_of(huey, result)).status_code == 200


def test_what_a_suspended_worker_publishes_late_is_no_newer_attempt(huey, write):
    result = write("eagles")
    run(huey, result)
    late = [("started", 1.0, {}), ("text", 2.0, {"text": "suspended"}), ("interrupted", 3.0, {})]
    append_batch(state_of(huey), result.id, encode_batch("w", "suspended", late))
    view = JobView(subscribe(huey, result, timeout=60))
    assert [each.outcome for each in view.runs] == ["interrupted", "done"]


def test_of_a_very_long_job_the_beginning_and_the_end_are_kept_and_shown(huey):
    @huey.task()
    def write():
        publisher, current = huey.publisher, current_task()
        for number in range(5_200):
            publisher.note_event(current, "tool_call", lambda run: None, tool=f"tool {number}", id=str(number))
        for _ in range(1_200):
            publisher.note_text(current, "text", "word " * 200)
        raise ValueError("it ended so")

    result = write()
    (told,) = run(huey, result)
    started, *events, failed = [event for event in told if event.kind != "queued"]
    assert (started.kind, failed.kind) == ("started", "failed")
    assert sum(event.kind == "tool_call" for event in events) == 4_999
    assert 990_000 <= sum(len(event.data["text"]) for event in events if event.kind == "text") <= 1_000_000
    html = client_of(huey).get(page_of(huey, result)).text
    assert "it ended so" in html
    assert len(html) < 10_000_000
