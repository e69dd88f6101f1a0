"""Show the jobs of a Huey on a page of the browser, while they run.

--huey names a Huey that was given to aquila.huey.live.publish_jobs: the module, a colon and the variable, such as
app.tasks:huey. The module is imported, so name the one that has the tasks. The option can be given several times.

The page only shows. With --actions, those who know the token can cancel, retry and delete jobs, and pause queues. The
token is the value of AQUILA_JOBS_TOKEN; without this variable a token is printed. With the variable, or if other
machines can reach the page, the page shows nothing without the token.

The page answers requests for a loopback name, --host and --allow-host only, and none from a page of another site.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from aquila.cli import listening
from aquila.cli.output import Output
from aquila.cli.queues import hueys
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional

if TYPE_CHECKING:
    from aquila.huey.live.page import application
    from aquila.server import admission, background_server
else:
    lazy_modules(globals(), "aquila.huey.live.page: application", "aquila.server: admission, background_server")

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
    listening.add_address(
        parser,
        port=8378,
        where_reachable="nothing is shown without the token",
        names="browsers reach the page, such as jobs.example.com",
    )
    parser.add_argument("--actions", action="store_true", help="let those who know the token act on jobs and queues")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Serve until interrupted.

    The user gives a token in AQUILA_JOBS_TOKEN and not as an argument, because other users of the machine can see the
    arguments of commands.
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
    with background_server.listen_until_interrupted(options.host, options.port) as bound:
        output.print_line(f"jobs of {', '.join(options.huey)} at {background_server.url_of(bound)}")
        if token is not None:
            shown = f"that of {_TOKEN_VARIABLE}" if given else token
            purposes = [name for name, wanted in (("see", reading_needs_token), ("act", options.actions)) if wanted]
            output.print_line(f"the token to {' and '.join(purposes)} there: {shown}")
        sys.stdout.flush()
        background_server.make_server(app).run([bound])
    return 0


def find_huey(place: str) -> Any:
    """Return the Huey at ``place``. Raises ``ConfigError`` if there is none, or if it does not publish its jobs."""
    found = hueys.import_huey(place)
    if getattr(found, "publisher", None) is None:
        raise ConfigError(
            f"--huey {place}: this Huey does not publish its jobs. Call aquila.huey.live.publish_jobs("
            f"{place.rpartition(':')[2].rpartition('.')[2]}) where it is made"
        )
    return found
