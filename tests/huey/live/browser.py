"""The system's Chromium, driven by playwright; and a server of the page that can be restarted at its address."""

import contextlib
import shutil
import threading

import pytest

from aquila.intercept.policy import own_servers
from aquila.server import background_server


@contextlib.contextmanager
def chromium():
    """A browser. Skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=command, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A tab of a browser that notes what a page must not do."""

    def __init__(self, browser, **options):
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        self.page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors, self.hosts = [], set()
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2].partition(":")[0]))

    def assert_quiet(self):
        assert self.errors == []
        assert self.hosts <= {"127.0.0.1"}


class PageServer:
    """The page at an address that stays the same when it is restarted."""

    def __init__(self, make_app):
        self._make_app = make_app
        self.port = 0
        self._thread = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self._socket = background_server.open_listening_socket("127.0.0.1", self.port)
        self.port = self._socket.getsockname()[1]
        own_servers().add(self._socket.getsockname()[:2])
        self._server = background_server.make_server(self._make_app())
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def stop(self):
        if self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join()
            self._socket.close()
            own_servers().discard(("127.0.0.1", self.port))
            self._thread = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()
