"""An HTTP client of Python's."""

import urllib.request


def go(host: str, port: int) -> None:
    urllib.request.urlopen(f"http://{host}:{port}/v1/chat/completions", data=b"{}", timeout=10).close()
