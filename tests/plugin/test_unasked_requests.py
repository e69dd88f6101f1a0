"""A request that no test has made and nothing answers fails as without a network, is named once, and fails no test."""

from __future__ import annotations

import textwrap

import pytest

import tests.support.preloaded  # noqa: F401

ASKERS = """
    import queue, threading
    from concurrent.futures import ThreadPoolExecutor
    import httpx, requests

    def by_httpx(url):
        try:
            return httpx.get(url, headers={"x": "1"})
        except httpx.ConnectError as error:
            return error

    def by_requests(url):
        try:
            return requests.get(url)
        except requests.ConnectionError as error:
            return error

    class Worker:
        # A thread that does what it is told, as a background exporter does.
        def __init__(self):
            self.asked, self.answers = queue.Queue(), queue.Queue()
            self.thread = threading.Thread(target=self.work, daemon=True)
            self.thread.start()

        def work(self):
            while (job := self.asked.get()) is not None:
                function, url = job
                try:
                    self.answers.put(function(url))
                except BaseException as error:
                    self.answers.put(error)

        def ask(self, function, url):
            self.asked.put((function, url))
            return self.answers.get()

    AT_IMPORT = Worker()
    POOL = ThreadPoolExecutor(1)
    """
WEATHER = "https://weather.example/today?key=1"
MODEL = "https://api.groq.com/openai/v1/chat/completions"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(askers=textwrap.dedent(ASKERS))
    pytester.syspathinsert()
    return pytester


@pytest.mark.parametrize("way", ["by_httpx", "by_requests"])
def test_it_fails_no_test_and_is_named_once(way: str, project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""
        import askers, pytest, threading

        @pytest.fixture(scope="session")
        def exporter():
            return askers.Worker()

        @pytest.mark.parametrize("number", [1, 2])
        def test_from_an_import(number, aquila_cassette):
            assert "no test asked" in str(askers.AT_IMPORT.ask(askers.{way}, {WEATHER!r}))

        def test_from_a_shared_fixture(exporter, aquila_cassette):
            assert "no test asked" in str(exporter.ask(askers.{way}, {WEATHER!r}))

        def test_starts_a_thread():
            askers.LEFT = askers.Worker()

        def test_from_what_outlived_its_test(aquila_cassette):
            assert "no test asked" in str(askers.LEFT.ask(askers.{way}, {WEATHER!r}))

        def test_from_a_timer_of_a_foreign_thread(aquila_cassette):
            def ask_later(url):
                answers = []
                timer = threading.Timer(0, lambda: answers.append(askers.{way}(url)))
                timer.start()
                timer.join()
                return answers[0]
            assert "no test asked" in str(askers.AT_IMPORT.ask(ask_later, {WEATHER!r}))
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=6)
    shown = result.stdout.str()
    assert shown.count("failed as without a network: GET https://weather.example/today") == 1
    assert "0 missed" in shown


def test_what_the_test_has_started_or_handed_over_is_missed(project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""
        import asyncio, askers, threading

        def test_thread(aquila_cassette):
            askers.Worker().ask(askers.by_httpx, {WEATHER!r})

        def test_pool(aquila_cassette):
            askers.POOL.submit(askers.by_httpx, {WEATHER!r}).exception()

        def test_pool_again(aquila_cassette):  # its thread was started by the test before
            askers.POOL.submit(askers.by_httpx, {WEATHER!r}).exception()

        LOOP = asyncio.new_event_loop()
        threading.Thread(target=LOOP.run_forever, daemon=True).start()

        def test_loop_in_a_foreign_thread(aquila_cassette):
            async def ask():
                askers.by_httpx({WEATHER!r})
            asyncio.run_coroutine_threadsafe(ask(), LOOP).exception()
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*4 missed*"])


def test_a_request_for_a_model_fails_the_test_whoever_makes_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""
        import askers

        def test_it(aquila_cassette):
            askers.AT_IMPORT.ask(askers.by_httpx, {MODEL!r})

        def test_without_a_cassette():
            askers.AT_IMPORT.ask(askers.by_httpx, {MODEL!r})
        """
    )
    project.runpytest_inprocess().assert_outcomes(failed=2)


def test_a_refusal_names_the_earlier_test_whose_thread_makes_the_request(project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""
        import askers

        def test_first():
            askers.LEFT = askers.Worker()

        def test_second():
            askers.LEFT.ask(askers.by_httpx, {MODEL!r})

        def test_third():
            askers.AT_IMPORT.ask(askers.by_httpx, {MODEL!r})

        def test_fourth():
            askers.Worker().ask(askers.by_httpx, {MODEL!r})
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "  test       *.py::test_second",
            "  thread of  *.py::test_first, which has left it running",
            "Wait for that thread before its test returns. If the running test has given it work:",
            "To answer it from a cassette use the fixture aquila_cassette or @pytest.mark.aquila.",
        ]
    )
    assert result.stdout.str().count("thread of") == 1


def test_a_request_that_the_guard_of_all_hosts_refuses_fails_no_test_either(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\naquila_guard = all")
    project.makepyfile(
        f"""
        import askers

        def test_httpx():
            assert "no test asked" in str(askers.AT_IMPORT.ask(askers.by_httpx, {WEATHER!r}))

        def test_requests():
            assert "no test asked" in str(askers.AT_IMPORT.ask(askers.by_requests, {WEATHER!r}))

        def test_own():
            askers.by_httpx({WEATHER!r})
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["aquila: 2 requests * failed as without a network: GET https://weather.example/*"])


@pytest.mark.slow
def test_a_worker_of_xdist_tells_of_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""
        import askers

        def test_it(aquila_cassette):
            assert "no test asked" in str(askers.AT_IMPORT.ask(askers.by_httpx, {WEATHER!r}))
        """
    )
    result = project.runpytest_subprocess("-n", "1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*failed as without a network: GET https://weather.example/today*"])
