"""curl as a library: pycurl, curl_cffi."""

import pycurl


def go(host: str, port: int) -> None:
    curl = pycurl.Curl()
    curl.setopt(curl.URL, f"http://{host}:{port}/v1/chat/completions")
    curl.setopt(curl.WRITEFUNCTION, len)
    curl.perform()
