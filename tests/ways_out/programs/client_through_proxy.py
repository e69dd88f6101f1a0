"""What an HTTP client asks a provider through a proxy of this machine."""

import urllib.request

LISTED = False


def go(host: str, port: int) -> None:
    proxy = urllib.request.ProxyHandler({"http": f"http://{host}:{port}"})
    opener = urllib.request.build_opener(proxy)
    opener.open("http://api.openai.com/v1/chat/completions", data=b"{}", timeout=10).close()
