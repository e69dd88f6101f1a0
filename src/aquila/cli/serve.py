"""Answer any program from cassettes: an HTTP server that clients reach through OPENAI_BASE_URL.

Any path is served. By default nothing leaves this machine, and a request without a recording gets a 404 that shows the
difference. With --record a request without a recording is sent to --upstream and recorded; with --record=all every
request is. A request can name its cassette with the header x-aquila-cassette, or with /@NAME before its path
(http://127.0.0.1:8377/@jobs%2Fsummary/v1). POST /_aquila/reset stores what was recorded, and every recording can then
be played again.

Recordings are stored when the server ends (Ctrl-C) or is reset. Until then they are in its journal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import cassette_path
from aquila.cli import project
from aquila.cli.output import Output
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional
from aquila.recording import runtime
from aquila.recording.scope import Scope

if TYPE_CHECKING:
    from aquila.server import application, background_server
    from aquila.transports import proxy as proxies
else:
    lazy_modules(
        globals(),
        application="aquila.server.application",
        background_server="aquila.server.background_server",
        proxies="aquila.transports.proxy",
    )

_SHOWN = {None: "replay", "missing": "record what is missing", "all": "record everything"}
"""How the first line of the server names each value of ``--record``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument(
        "--record",
        nargs="?",
        const="missing",
        choices=("missing", "all"),
        help="record requests that have no recording (missing), or every request (all); default: replay only",
    )
    parser.add_argument("--cassette", metavar="NAME", help="the cassette of requests that name none")
    parser.add_argument(
        "--upstream",
        metavar="URL",
        help="where to record from: the provider's base URL (default: OPENAI_BASE_URL, else "
        "https://api.openai.com), or a transport: local, module:factory",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on; one that other machines can reach needs a token"
    )
    parser.add_argument("--port", type=int, default=8377, help="the port to listen on (default: 8377; 0: any)")
    parser.add_argument(
        "--max-body", type=int, default=32, metavar="MB", help="refuse larger requests (default: 32 megabytes)"
    )


def scope_options(record: str | None) -> dict[str, str]:
    """Return the settings of a scope for a value of ``--record``: None, ``missing`` or ``all``."""
    return {"transport": "replay"} if record is None else {"transport": "record", "record": record}


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Serve until interrupted.

    The token comes from AQUILA_SERVER_TOKEN, because other users of the machine can see command-line arguments.
    """
    for module in ("starlette", "uvicorn"):
        import_optional(module, "serve", purpose="aquila serve")
    token = os.environ.get("AQUILA_SERVER_TOKEN") or None
    with project.open_project(options) as here:
        settings = runtime.current_settings()
        if options.cassette is not None:
            cassette_path(here.folder, options.cassette)  # raises for a name that cannot be a cassette
        served = background_server.RenewableScope(
            lambda: Scope(
                kind="block",
                name="aquila serve",
                command=f"aquila serve --record --cassette {options.cassette or 'NAME'}",
                default_cassette=options.cassette,
                options=scope_options(options.record),
            )
        )
        proxy = proxies.Proxy(
            served.current_scope, upstream=options.upstream or settings.base_url, key=settings.api_key
        )
        app = application.build_application(
            proxy, token=token, largest_body=options.max_body * 1024 * 1024, reset=served.reset_scope
        )
        try:
            with background_server.open_listening_socket(options.host, options.port, token=token) as bound:
                host, port = bound.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                mode = _SHOWN[options.record]
                output.print_line(f"serving {here.folder} ({mode}) at OPENAI_BASE_URL=http://{shown}:{port}/v1")
                sys.stdout.flush()
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stores recordings too
                with contextlib.suppress(KeyboardInterrupt):
                    background_server.make_server(app).run([bound])
        finally:
            recorded = served.close()
        output.print_line(f"{recorded} recorded")
    return 0
