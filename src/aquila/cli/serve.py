"""Answer any program from cassettes: an HTTP server that clients are pointed to with OPENAI_BASE_URL.

Any path is served. With --mode replay nothing leaves this machine; a request without a recording gets a 404 that says
how it differs. With --mode missing what is not there yet is fetched from --upstream and recorded, with --mode record
everything is. A request can name its cassette itself: with the header x-aquila-cassette, or with /@NAME before its path
(http://127.0.0.1:8377/@jobs%2Fsummary/v1). POST /_aquila/reset stores what was recorded and begins anew.

Recordings are stored when the server ends (Ctrl-C) or is reset; until then they are in its journal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys

from aquila import config
from aquila.cassettes.storage.names import cassette_path
from aquila.cli import project
from aquila.cli.output import Output
from aquila.recording.scope import Scope

_MODES = {
    "replay": {"transport": "replay"},
    "missing": {"transport": "record", "record": "missing"},
    "record": {"transport": "record", "record": "all"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("--mode", choices=tuple(_MODES), default="replay", help="what to do (default: replay)")
    parser.add_argument("--cassette", metavar="NAME", help="the cassette of requests that name none")
    parser.add_argument(
        "--upstream",
        metavar="URL",
        help="where to record from: the URL that stands for the server's own (default: OPENAI_BASE_URL, else "
        "https://api.openai.com), or a transport: local, module:factory",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on; others than this machine's want a token"
    )
    parser.add_argument("--port", type=int, default=8377, help="the port to listen on (default: 8377; 0: any)")
    parser.add_argument(
        "--max-body", type=int, default=32, metavar="MB", help="refuse larger requests (default: 32 megabytes)"
    )


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Serve until interrupted. The token, if any, is in AQUILA_SERVER_TOKEN: arguments can be seen by others."""
    from aquila.optional import import_optional

    for module in ("starlette", "uvicorn"):
        import_optional(module, "serve", purpose="aquila serve")
    from aquila.server.application import build_application
    from aquila.server.background_server import RenewableScope, make_server, open_listening_socket
    from aquila.transports.proxy import Proxy

    token = os.environ.get("AQUILA_SERVER_TOKEN") or None
    with project.open_project(options) as here:
        settings = config.current_settings()
        if options.cassette is not None:
            cassette_path(here.folder, options.cassette)  # a wrong name shows now
        served = RenewableScope(
            lambda: Scope(
                kind="block",
                name="aquila serve",
                command=f"aquila serve --mode missing --cassette {options.cassette or 'NAME'}",
                default_cassette=options.cassette,
                options=_MODES[options.mode],
            )
        )
        proxy = Proxy(served.current_scope, upstream=options.upstream or settings.base_url, key=settings.api_key)
        app = build_application(
            proxy, token=token, largest_body=options.max_body * 1024 * 1024, reset=served.reset_scope
        )
        try:
            with open_listening_socket(options.host, options.port, token=token) as bound:
                host, port = bound.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                output.print_line(f"serving {here.folder} ({options.mode}) at OPENAI_BASE_URL=http://{shown}:{port}/v1")
                sys.stdout.flush()
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # a server that is told to end stores too
                with contextlib.suppress(KeyboardInterrupt):
                    make_server(app).run([bound])
        finally:
            recorded = served.close()
        output.print_line(f"{recorded} recorded")
    return 0
