"""A suite that uses nothing of Aquila runs as it did before Aquila was installed: the same ids, the same output."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest


def test_what_looks_like_a_secret_stays_in_the_id_of_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("value", ["https://user:s3cr3t-pass@example.com/", "Basic dGVzdDp0ZXN0dGVzdA=="])
        @pytest.mark.parametrize("encoded", [b"http://user:pass%20word@example.com/?api_key=q7Zr2mXv9KpLw4TbN8"])
        def test_it(value, encoded):
            pass
        """
    )
    collected = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "no:aquila").outlines
    assert pytester.runpytest_inprocess("--collect-only", "-q").outlines[:2] == collected[:2]


@pytest.fixture
def address() -> Iterator[str]:
    """A server of this machine that answers every GET."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("ending", ["pass", "assert False"])
def test_requests_to_a_server_of_the_machine_add_no_line(ending: str, address: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import httpx2
        import pytest

        @pytest.fixture(autouse=True)
        def around():
            yield

        def test_it():
            assert httpx2.get({address!r}).status_code == 204
            {ending}
        """
    )
    assert "aquila:" not in pytester.runpytest_inprocess().stdout.str()
