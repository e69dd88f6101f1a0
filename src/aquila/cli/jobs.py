"""Show the jobs of a Huey on a page of the browser, as they are done.

--huey names a Huey that was given to aquila.huey.live.publish_jobs: the module, a colon and the variable, such as
app.tasks:huey. The module is imported, so name the one that has the tasks. It can be given several times.

The page only shows. With --actions jobs can be canceled, tried again and deleted, and queues paused, by those who know
the token: that of AQUILA_JOBS_TOKEN, else one that is printed. With AQUILA_JOBS_TOKEN, or where other machines can
reach the page, nobody sees anything without the token.

The page answers only to a loopback name, --host and --allow-host, and to no page of another site.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from aquila.cli.output import Output
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional

if TYPE_CHECKING:
    from aquila.huey.live.page import application
    from aquila.server import admission, background_server
else:
    lazy_modules(
        globals(),
        admission="aquila.server.admission",
        application="aquila.huey.live.page.application",
        background_server="aquila.server.background_server",
    )

_TOKEN_VARIABLE = "AQUILA_JOBS_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--huey",
        action="append",
        required=True,
        metavar="MODULE:NAME",
        help="the Huey whose jobs are shown, such as app.tasks:huey; can be given several times",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on; where other machines can reach it, nothing is shown without the token",
    )
    parser.add_argument("--port", type=int, default=8378, help="the port to listen on (default: 8378; 0: any)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which browsers reach the page, such as jobs.example.com; can be given several times",
    )
    parser.add_argument("--actions", action="store_true", help="let those who know the token act on jobs and queues")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Serve until interrupted.

    A token of the user's comes from AQUILA_JOBS_TOKEN, because other users of the machine can see command-line
    arguments.
    """
    for module in ("huey", "jinja2", "starlette", "uvicorn", "httptools"):
        import_optional(module, "jobs", purpose="aquila jobs")
    given = os.environ.get(_TOKEN_VARIABLE) or None
    is_open = background_server.can_be_reached(options.host)
    if given is not None:
        admission.check_token(given, is_open=True, source=_TOKEN_VARIABLE)
    reading_needs_token = is_open or given is not None
    token = given or (admission.make_token() if options.actions or reading_needs_token else None)
    app = application.app(
        *map(find_huey, options.huey),
        token=token,
        hosts=[options.host, *options.allow_host],
        reading_needs_token=reading_needs_token,
        may_act=options.actions,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        background_server.open_listening_socket(options.host, options.port) as bound,
    ):
        output.print_line(f"jobs of {', '.join(options.huey)} at {background_server.url_of(bound)}")
        if token is not None:
            shown = f"that of {_TOKEN_VARIABLE}" if given else token
            purposes = [name for name, wanted in (("see", reading_needs_token), ("act", options.actions)) if wanted]
            output.print_line(f"the token to {' and '.join(purposes)} there: {shown}")
        sys.stdout.flush()
        background_server.make_server(app).run([bound])
    return 0


def find_huey(place: str) -> Any:
    """Import a Huey. Raises ``ConfigError`` where there is none at ``place``."""
    module, colon, name = place.partition(":")
    if not colon:
        module, _, name = place.rpartition(".")
    if not module or not name:
        raise ConfigError(f"--huey {place!r} names no variable of a module; write it as app.tasks:huey")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a command of an environment does not look here
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"--huey {place}: {error}") from error
    except AttributeError:
        raise ConfigError(f"--huey {place}: the module {module} has no {name}") from None
    if getattr(found, "publisher", None) is None:
        raise ConfigError(
            f"--huey {place}: nothing is published of its jobs. Call aquila.huey.live.publish_jobs({name}) where it is "
            "made"
        )
    return found
