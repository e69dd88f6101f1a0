"""``aquila_script``: answers written by hand, for whatever client a test uses."""

from __future__ import annotations

import pytest

import tests.support.preloaded  # noqa: F401

HELPERS = """
import json
import threading
import urllib.request

import pytest

URL = "https://api.openai.com/v1/chat/completions"


def body(text="hi", **fields):
    return json.dumps({"model": "gpt-4.1", "messages": [{"role": "user", "content": text}], **fields}).encode()


def ask(text="hi", **fields):
    request = urllib.request.Request(URL, body(text, **fields), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())["choices"][0]["message"]["content"]
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(helpers=HELPERS)
    return pytester


def test_every_client_gets_what_was_written(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import aiohttp, httpx, httpx2, openai, requests
        import aquila
        from helpers import URL, ask, body
        import concurrent.futures

        def test_agent(aquila_script):
            aquila_script.tool_call("get_weather", city="Rome").reply("It is 18 °C in Rome.")
            client = openai.OpenAI()
            messages = [{"role": "user", "content": "Weather in Rome?"}]
            first = client.chat.completions.create(model="gpt-4.1", messages=messages).choices[0].message
            (call,) = first.tool_calls
            assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Rome"}')
            result = {"role": "tool", "tool_call_id": call.id, "content": "18 °C"}
            messages += [first.model_dump(exclude_none=True), result]
            second = client.chat.completions.create(model="gpt-4.1", messages=messages, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in second) == "It is 18 °C in Rome."
            last = aquila_script.requests[1].messages[-1]
            assert (last.role, last.text, last.tool_call_id) == ("tool", "18 °C", call.id)

        def test_clients(aquila_script):
            aquila_script.reply("Hello.", times=8)
            said = lambda answer: answer["choices"][0]["message"]["content"]
            headers = {"content-type": "application/json"}

            async def in_a_loop():
                async with aiohttp.ClientSession() as session:
                    async with session.post(URL, data=body(), headers=headers) as answer:
                        yield said(await answer.json())
                async with httpx.AsyncClient() as client:
                    yield said((await client.post(URL, content=body())).json())

            async def collect():
                return [each async for each in in_a_loop()]

            assert asyncio.run(collect()) == ["Hello."] * 2
            assert said(requests.post(URL, data=body(), headers=headers).json()) == "Hello."
            assert said(httpx.post(URL, content=body()).json()) == "Hello."
            assert said(httpx2.post(URL, content=body()).json()) == "Hello."
            with concurrent.futures.ThreadPoolExecutor() as pool:
                assert pool.submit(ask).result() == "Hello."
            assert aquila.ask("hi").text == "Hello."
            assert aquila.http_client().post(URL, content=body()).status_code == 200
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*0 recorded, 0 missed, 10 scripted"])
    assert not (project.path / "cassettes").exists()


def test_a_request_without_an_answer_and_an_answer_without_a_request_fail_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask
        import openai
        import pytest

        def test_unanswered(aquila_script):
            aquila_script.embed([0.5])
            openai.OpenAI().chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "Who?"}])

        def test_swallowed(aquila_script):
            try:
                ask("Who?")
            except BaseException:
                pass

        def test_unused(aquila_script):
            aquila_script.reply("one").reply("two")
            aquila_script.when("never").reply("three")
            assert ask() == "one"

        def test_unused_is_meant(aquila_script):
            aquila_script.unused = "ignore"
            aquila_script.reply("one").reply("two")
            assert ask() == "one"

        @pytest.mark.aquila(unused="ignore")
        def test_unused_is_meant_by_the_marker(aquila_script):
            aquila_script.reply("one").reply("two")
            assert ask() == "one"
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-rfE")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "E *UnscriptedRequest: no answer is scripted for POST https://api.openai.com/v1/chat/completions",
            "*form       OpenAI chat completions",
            "*messages   user       Who?",
            "*embed() with 1 vector: does not answer a request for a message",
            "*2 scripted answers were not asked for:",
            '*reply("two")',
            '*when("never").reply("three")',
            'If that is meant, say so: aquila_script.unused = "ignore" in the test, or `unused: ignore` in a script*',
        ]
    )


def test_beside_a_cassette_the_script_comes_first_and_the_rest_is_replayed(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask

        def test_both(aquila_script, aquila_cassette):
            aquila_script.when("scripted").reply("by hand")
            assert [ask("scripted"), ask("recorded"), ask("scripted")] == ["by hand", "from upstream", "by hand"]
            assert [request.messages[-1].text for request in aquila_cassette.requests] == ["recorded"]
        """,
        upstream="""
        import httpx2

        def transport():
            message = {"role": "assistant", "content": "from upstream"}
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"choices": [{"message": message}]}))
        """,
    )
    recorded = project.runpytest_inprocess("--aquila-record", "--aquila-upstream=upstream:transport")
    recorded.stdout.fnmatch_lines(["*0 replayed, 1 recorded, 0 missed, 2 scripted*"])
    replayed = project.runpytest_inprocess()
    replayed.stdout.fnmatch_lines(["*1 replayed, 0 recorded, 0 missed, 2 scripted*"])


@pytest.mark.slow
def test_children_and_forks_ask_the_script_of_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import os, subprocess, sys
        os.environ["PYTHONPATH"] = f"{os.getcwd()}:{os.environ['PYTHONPATH']}"
        from helpers import ask
        import aquila

        def test_processes(aquila_script):
            aquila_script.reply("one").reply("two").reply("three").reply("four")
            assert ask() == "one"
            program = [sys.executable, "-c", "import helpers; print(helpers.ask())"]
            run = lambda: subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()
            assert run() == "two"
            with aquila.use_cassette("inner"):
                assert run() == "three"
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.write(writer, ask().encode())
                os._exit(0)
            assert os.read(reader, 100) == b"four"
            assert len(aquila_script.requests) == 4

        def test_a_child_without_answer_fails_the_test(aquila_script):
            assert subprocess.run([sys.executable, "-c", "import helpers; helpers.ask()"]).returncode
        """
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*no answer is scripted for POST*"])
    result.stdout.no_fnmatch_line("*cannot be read*")


WORKERS = """
import multiprocessing, os, subprocess, sys
from helpers import ask
import pytest
os.environ["PYTHONPATH"] = f"{os.getcwd()}:{os.environ['PYTHONPATH']}"

PROGRAM = "import helpers; [print(helpers.ask(text.strip()), flush=True) for text in iter(input, 'end')]"

def work(pipe):
    for text in iter(pipe.recv, "end"):
        pipe.send(ask(text))

@pytest.fixture
def program():
    started = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        def ask_it(text):
            process.stdin.write(text + chr(10))
            return process.stdout.readline().strip()
        yield ask_it
        process.stdin.write("end" + chr(10))

@pytest.fixture
def fork():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(theirs,))
    process.start()
    def ask_it(text):
        ours.send(text)
        return ours.recv()
    yield ask_it
    ours.send("end")
    process.join()

def check(worker, script):
    script.reply("one").when("two").reply("two")
    assert worker("one") == "one"
    assert worker("two") == "two"
    assert len(script.requests) == 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["program", "fork"])
@pytest.mark.parametrize("rest", ["", ", aquila_cassette"], ids=["alone", "beside-a-cassette"])
def test_a_process_of_an_earlier_fixture_asks_the_script(worker: str, rest: str, project: pytest.Pytester) -> None:
    project.makepyfile(f"{WORKERS}\ndef test_it({worker}, aquila_script{rest}): check({worker}, aquila_script)\n")
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*0 replayed, 0 recorded, 0 missed, 2 scripted*"])


LEFT = ('*left*when("two"): no message holds the text', '*To answer it, add aquila_script.reply("...")*')


@pytest.mark.slow
def test_what_the_script_does_not_answer_such_a_process_names_what_is_left_there(project: pytest.Pytester) -> None:
    test = """
def test_it(program, aquila_script):
    aquila_script.when("two").reply("two")
    program("one")
"""
    project.makepyfile(f"{WORKERS}\n{test}")
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1, errors=1)
    begin = "*Captured aquila teardown*", "*--aquila-record", "Nor does the script answer it:"
    result.stdout.fnmatch_lines([*begin, *LEFT])


def test_beside_a_cassette_that_is_not_recorded_yet_a_miss_names_what_is_left(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask

        def test_it(aquila_script, aquila_cassette):
            aquila_script.when("two").reply("two")
            ask("one")
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Nor does the script answer it:", *LEFT])


@pytest.mark.slow
def test_what_a_child_is_refused_beside_a_script_is_not_told_as_that_of_a_job(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\naquila_guard = all\n")
    project.makepyfile(
        """
        import subprocess, sys

        PROGRAM = "import urllib.request; urllib.request.urlopen('https://www.example.com/x')"

        def test_it(aquila_script):
            subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True)
        """
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["GET https://www.example.com/x was refused: *", "This is a child process: *"])
    result.stdout.no_fnmatch_line("A job uses *")


def test_an_earlier_fixture_that_asks_keeps_its_own_cassette(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_index="""
        from helpers import ask
        import pytest

        @pytest.fixture
        def index():
            return ask("index")

        def test_it(index, aquila_script):
            aquila_script.reply("one")
            assert (index, ask()) == ("Indexed.", "one")
            assert len(aquila_script.requests) == 1
        """
    )
    cassette = project.path / "cassettes" / "test_index" / "@index.script.yaml"
    cassette.parent.mkdir(parents=True)
    cassette.write_text("script:\n- reply: Indexed.\n")
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


SCRIPT = """\
script:
- reply: one
- reply: two
- when: many
  reply: any
"""


@pytest.mark.slow
def test_a_file_answers_by_its_name_and_nothing_is_recorded_into_it(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.mkdir("cassettes") / "scripts"
    folder.mkdir()
    (folder / "numbers.script.yaml").write_text(SCRIPT)
    project.makepyfile(
        """
        from helpers import ask
        import aquila
        import pytest
        import subprocess, sys, os

        @pytest.mark.aquila("scripts/numbers")
        def test_marker():
            assert [ask(), ask("many"), ask(), ask("many")] == ["one", "any", "two", "any"]

        @pytest.mark.aquila("scripts/numbers")
        def test_left():
            assert ask() == "one"

        @pytest.mark.aquila("scripts/numbers")
        def test_unanswered():
            ask(), ask(), ask()

        @pytest.mark.aquila(unused="ignore")
        def test_call(aquila_cassette):
            assert aquila.ask("x", cassette="scripts/numbers", timeout=5).text == "one"

        def test_block():
            with aquila.use_cassette("scripts/numbers"):
                assert ask("many") == "any"

        @pytest.mark.aquila("scripts/numbers", unused="ignore")
        def test_child():
            assert ask() == "one"
            program = [sys.executable, "-c", "import helpers; print(helpers.ask())"]
            path = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.environ['PYTHONPATH']}"}
            assert subprocess.run(program, capture_output=True, text=True, env=path).stdout == "two\\n"

        @pytest.mark.aquila("scripts/numbers", unused="ignore")
        def test_a_file_needs_no_key():
            assert os.environ.get("OPENAI_API_KEY")

        def test_the_fixture_needs_no_key(aquila_script):
            assert os.environ.get("OPENAI_API_KEY")
        """
    )
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for options in ((), ("--aquila-record",), ("--aquila-record=all",)):
        result = project.runpytest_inprocess(*options)
        result.assert_outcomes(passed=6, failed=2)
        result.stdout.fnmatch_lines(
            ["E *UnscriptedRequest: no answer is scripted*", '*left *when("many"): no message *']
        )
        result.stdout.fnmatch_lines(["*0 replayed, 0 recorded, 1 missed, *"])
    assert [path.name for path in folder.iterdir()] == ["numbers.script.yaml"]
    assert (folder / "numbers.script.yaml").read_text() == SCRIPT


def test_a_script_that_cannot_answer_is_no_broken_connection(project: pytest.Pytester) -> None:
    """As a broken connection it would be retried by the client, and its reason would be hidden."""
    project.makepyfile(
        """
        import httpx2
        import openai

        def test_own_function(aquila_script):
            aquila_script.when(where=lambda sent: sent.no_such_name).reply("one")
            openai.OpenAI().chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "Who?"}])

        def test_form(aquila_script):
            aquila_script.tool_call("weather", '{"city": Rome}')
            url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
            try:
                httpx2.post(url, json={"contents": []})
            except Exception:
                pass
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*UnscriptedRequest: the script cannot answer POST */v1/chat/completions: AttributeError*",
            "*the scripted arguments of weather are*no JSON object*Gemini generateContent*",
        ]
    )


def test_a_thread_that_outlives_its_test_gets_no_answer_of_another_one(project: pytest.Pytester) -> None:
    """It would take an answer that was written for the test itself. Threads of shared fixtures work for every test."""
    project.makepyfile(
        workers="""
        import contextvars, queue, threading
        from helpers import ask

        class Worker:
            def __init__(self):
                self.jobs, self.answers = queue.Queue(), queue.Queue()
                threading.Thread(target=self.work, name="left-behind", daemon=True).start()

            def work(self):
                while True:
                    job = self.jobs.get()
                    try:
                        self.answers.put(job())
                    except Exception as error:
                        self.answers.put(str(error))

            def ask(self, job=ask):
                self.jobs.put(job)
                return self.answers.get()
        """,
        test_it="""
        import contextvars
        from helpers import ask
        import aquila.testing
        import pytest
        import workers

        @pytest.fixture(scope="module")
        def server():
            return workers.Worker()

        @pytest.fixture(scope="module")
        def shared():
            with aquila.testing.use_script() as script:
                script.when("hi").reply("shared")
                yield script

        @pytest.fixture
        def own():
            return workers.Worker()

        def test_starts_one(aquila_script, server, own):
            aquila_script.reply("1").reply("2").reply("3")
            workers.LEFT = workers.Worker()
            assert [each.ask() for each in (workers.LEFT, server, own)] == ["1", "2", "3"]

        def test_next(aquila_script, server):
            aquila_script.reply("mine").reply("of the server").reply("handed over")
            assert "test_it.py::test_starts_one" in workers.LEFT.ask()
            assert ask() == "mine"
            assert server.ask() == "of the server"
            assert workers.LEFT.ask(lambda here=contextvars.copy_context(): here.run(ask)) == "handed over"

        def test_whose_script_all_share(shared, server):
            assert [server.ask(), workers.LEFT.ask()] == ["shared", "shared"]
        """,
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "POST *completions comes from a thread that an earlier test has left*",
            "*started by test_it.py::test_starts_one",
            "*thread     left-behind",
        ]
    )


def test_a_task_that_outlives_its_test_gets_no_answer_of_another_one(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import httpx2
        from helpers import URL, body

        RUNNER = asyncio.Runner()  # of several tests, with the context of the first that uses it
        LEFT = []

        async def post():
            async with httpx2.AsyncClient() as client:
                return (await client.post(URL, content=body())).json()["choices"][0]["message"]["content"]

        async def post_later(begin):
            await begin.wait()
            try:
                return await post()
            except Exception as error:
                return str(error)

        def test_leaves_one(aquila_script):
            aquila_script.reply("mine")

            async def run():
                LEFT.append(asyncio.Event())
                LEFT.append(asyncio.create_task(post_later(LEFT[0]), name="poller"))
                return await post()

            assert RUNNER.run(run()) == "mine"

        def test_next(aquila_script):
            aquila_script.reply("mine").reply("mine, too")

            async def run():
                LEFT[0].set()
                while not LEFT[1].done():
                    await asyncio.sleep(0)
                return LEFT[1].result(), await post(), await asyncio.create_task(post())

            left, *own = RUNNER.run(run())
            assert "test_leaves_one" in left
            assert own == ["mine", "mine, too"]
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["POST *completions comes from a task that an earlier test*", "*task       poller"])
    result.stdout.no_fnmatch_line("*AssertionError*")


@pytest.mark.parametrize("transport", ["live", "upstream:transport"])
@pytest.mark.slow
def test_what_is_written_by_hand_answers_whatever_the_transport(transport: str, project: pytest.Pytester) -> None:
    folder = project.mkdir("cassettes")
    (folder / "one.script.yaml").write_text("script:\n- when: written\n  reply: by hand\n")
    project.makepyfile(
        upstream="""
        import httpx2

        def transport():
            message = {"role": "assistant", "content": "from elsewhere"}
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"choices": [{"message": message}]}))
        """,
        test_it="""
        import asyncio, http.server, json, threading
        import httpx2
        from helpers import URL, ask, body
        import aquila
        import pytest

        class Provider(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": "from elsewhere"}}]})
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *arguments):
                pass

        @pytest.fixture(scope="module")
        def provider():
            with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
                server.shutdown()

        def said(answer):
            return answer.json()["choices"][0]["message"]["content"]

        async def post_async(url, text):
            async with httpx2.AsyncClient() as client:
                return said(await client.post(url, content=body(text)))

        def check(provider):
            assert ask("written") == said(httpx2.post(URL, content=body("written"))) == "by hand"
            assert asyncio.run(post_async(URL, "written")) == aquila.ask("written").text == "by hand"
            client = aquila.http_client()
            assert said(client.post(URL, content=body("written"))) == "by hand"
            for answer in (httpx2.post(provider, content=body()), client.post(provider, content=body())):
                assert said(answer) == "from elsewhere"
            assert asyncio.run(post_async(provider, "else")) == "from elsewhere"

        @pytest.mark.aquila("one")
        def test_file(provider):
            check(provider)

        def test_fixture(aquila_script, provider):
            aquila_script.when("written").reply("by hand")
            check(provider)

        def test_block(provider):
            with aquila.use_cassette("one"):
                check(provider)

        def test_call():
            assert aquila.ask("written", cassette="one").text == "by hand"

        @pytest.mark.aquila(unused="ignore")
        def test_the_call_itself_asks_for_another_transport(aquila_script):
            aquila_script.when("written").reply("by hand")
            with aquila.http_client(transport="upstream:transport") as client:
                assert "from elsewhere" in client.post(URL, content=body("written")).text
        """,
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", f"--aquila-transport={transport}")
    result.assert_outcomes(passed=5)


def test_fixtures_of_the_test_are_answered_by_its_script(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask
        import pytest

        @pytest.fixture
        def greeting(aquila_script):
            aquila_script.reply("Hello.")
            return ask()

        def test_greeting(greeting, aquila_script):
            assert greeting == "Hello."
            assert len(aquila_script.requests) == 1

        @pytest.mark.aquila(faults="server_error(times=1)")
        def test_under_a_fault(aquila_script):
            aquila_script.reply("Hello.")
            with pytest.raises(OSError, match="500") as refused:
                ask()
            refused.value.close()
            assert ask() == "Hello."
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
