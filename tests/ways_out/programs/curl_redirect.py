"""Where curl is redirected to by a server that may be asked."""

import http.server
import threading

import pycurl


def go(host: str, port: int) -> None:
    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", f"http://{host}:{port}/")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        curl = pycurl.Curl()
        curl.setopt(curl.URL, f"http://127.0.0.1:{server.server_port}/")
        curl.setopt(curl.FOLLOWLOCATION, True)
        curl.setopt(curl.WRITEFUNCTION, len)
        curl.perform()
        thread.join()
