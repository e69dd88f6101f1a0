"""Answer any program from cassettes: an HTTP server that clients reach through OPENAI_BASE_URL.

Any path is served, and may be a WebSocket. By default nothing leaves this machine, and a request without a recording
gets a 404 that shows the difference. With --record a request without a recording is sent to --upstream and recorded;
with --record=all every request is. A request can name its cassette with the header x-aquila-cassette, or with /@NAME
before its path (http://127.0.0.1:8377/@jobs%2Fsummary/v1). POST /_aquila/reset stores what was recorded, and every
recording can then be played again.

With --script FILE the answers in that script come first, in the form of the API that is asked, and the cassette answers
the other requests. A script among the cassettes can be named like a cassette: --script scripts/weather. A reset begins
the script again.

Web pages are not answered, and neither is a client that calls the server by a name other than a loopback name, --host
or --allow-host. The server's own API key is used only for clients that send its token as their key: that of
AQUILA_SERVER_TOKEN, else one that it prints. With AQUILA_SERVER_TOKEN, or where other machines can reach it, it answers
nobody without the token.

Recordings are stored when the server ends (Ctrl-C) or is reset. Until then they are in its journal, from which a
server with --record that starts later stores them if this one is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aquila.cassettes.codecs import cassette_suffixes
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage.names import cassette_path
from aquila.cli import listening, project
from aquila.cli.output import Output, escape_controls, write_to_stderr
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional
from aquila.recording import runtime
from aquila.recording.network.host_names import DEFAULT_PORTS, SPELLINGS_OF_LOOPBACK, is_loopback, normalize_host
from aquila.recording.scope import Scope
from aquila.recording.sessions.session_factory import redactor_of
from aquila.settings import Settings
from aquila.shell_words import join_words

if TYPE_CHECKING:
    from aquila.scripting import script_file
    from aquila.scripting.script import Script
    from aquila.server import access_log, application, background_server
    from aquila.server import admission as admissions
    from aquila.server.admission import Admission
    from aquila.transports import script_transport
    from aquila.transports.callers import proxy as proxies
else:
    lazy_modules(
        globals(),
        "aquila.scripting: script_file",
        "aquila.server: access_log, application, background_server, admission as admissions",
        "aquila.transports: script_transport",
        "aquila.transports.callers: proxy as proxies",
    )

_TOKEN_VARIABLE = "AQUILA_SERVER_TOKEN"
_PORT = 8377
"""The port on which the server listens if it is given none."""
_SHOWN = {None: "replay", "missing": "record what is missing", "all": "record everything"}
"""The words for each value of ``--record`` in the first line of the server."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_folders(parser)
    parser.add_argument(
        "--record",
        nargs="?",
        const="missing",
        choices=("missing", "all"),
        help="record requests that have no recording (missing), or every request (all); default: replay only",
    )
    parser.add_argument(
        "--script", metavar="FILE", help="answer from this script what it has an answer for, before any cassette"
    )
    parser.add_argument("--cassette", metavar="NAME", help="the cassette of requests that name none, or its file")
    parser.add_argument(
        "--upstream",
        metavar="URL",
        help="where to record from: the provider's base URL, or a transport: local, module:factory (default: "
        "AQUILA_UPSTREAM, else OPENAI_BASE_URL, else https://api.openai.com)",
    )
    listening.add_address(
        parser,
        port=_PORT,
        where_reachable="every client needs the token",
        names="clients reach the server, such as host.docker.internal",
    )
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="FILE",
        help="speak https with the certificate and the key in this PEM file: some clients open WebSockets by wss alone",
    )
    parser.add_argument(
        "--max-body", type=int, default=32, metavar="MB", help="refuse larger requests (default: 32 megabytes)"
    )
    parser.add_argument("--quiet", action="store_true", help="write no line for each request")


def scope_options(record: str | None) -> dict[str, str]:
    """Return the settings of a scope for a value of ``--record``: None, ``missing`` or ``all``."""
    return {"transport": "replay"} if record is None else {"transport": "record", "record": record}


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Serve until interrupted.

    The user gives a token in AQUILA_SERVER_TOKEN and not as an argument, because other users of the machine can see
    command-line arguments.
    """
    _check_options(options)
    admission = _choose_admission(options)
    with project.open_project(options) as here, _warnings_shown():
        settings = runtime.current_settings()
        if here.folder.exists() and not here.folder.is_dir():
            raise ConfigError(f"{here.folder} is no folder of cassettes; name one with --dir")
        if options.cassette is not None:
            options.cassette = name_of_cassette(options.cassette, here)
        upstream = _choose_upstream(options, settings, admission)
        proxy = proxies.Proxy(lambda: served.scope, upstream=upstream, key=settings.api_key)
        script = _find_script(options, settings)
        served = background_server.RenewableScope(
            functools.partial(_open_scope, options, script, upstream=proxy.upstream.name)
        )
        app = application.build_application(
            proxy,
            admission,
            largest_body=options.max_body * 1024 * 1024,
            reset=served.reset_scope,
            log=None if options.quiet else access_log.RequestLog(_redact_target, _write_log_line),
        )
        try:
            with background_server.listen_until_interrupted(options.host, options.port) as bound:
                url = background_server.url_of(bound, is_tls=options.tls is not None)
                url += _path_of_clients(options, settings, upstream)
                output.print_line(f"serving {here.folder} ({_SHOWN[options.record]}) at OPENAI_BASE_URL={url}")
                _print_token(admission, output, opens_key=options.record is not None and proxy.has_key)
                if options.record is not None:  # a server that was killed may have left answers
                    for line in itertools.chain(*here.store_interrupted(here.folder)):
                        output.print_problem(line)
                sys.stdout.flush()
                # What Ctrl-C cuts would be recorded as if the client had left, and a replay would wait for that.
                cut = served.forget_unfinished
                background_server.make_server(app, certificate=options.tls, before_cut=cut).run([bound])
        finally:
            recorded = served.close()
        output.print_line(f"{recorded} recorded")
    return 0


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """Write the warnings of Aquila's logger to stderr within the block: nothing else does so in this process."""
    logger, handler = logging.getLogger("aquila"), _WarningLines(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _WarningLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = redactor_of(runtime.current_settings()).redact_text(self.format(record))
            for line in text.splitlines():
                _write_log_line(line)
        except Exception:  # noqa: BLE001 - as handlers of `logging` do: no error of a log may end what is logged
            self.handleError(record)


def name_of_cassette(given: str, here: project.Project) -> str:
    """Return the name of a cassette that is given by its name or its file. Raises ``CassetteNameError``."""
    file = Path(os.path.abspath(given))  # without `..`, which no name may have
    is_file = file.suffix in cassette_suffixes() and file.is_relative_to(here.folder)
    name = here.name_of(file) if is_file else given
    cassette_path(here.folder, name)  # raises for a name that cannot be a cassette
    return name


def _choose_upstream(options: argparse.Namespace, settings: Settings, admission: Admission) -> str | None:
    """Return the upstream, if one is named. Raises ``ConfigError`` for a server that would record from itself."""
    records_elsewhere = options.record is not None and settings.upstream != "live"  # AQUILA_UPSTREAM, or the ini file
    upstream: str | None = options.upstream or (settings.upstream if records_elsewhere else settings.base_url)
    # The shell in which clients were told their OPENAI_BASE_URL is also the one in which the server is started again.
    if options.record is not None and upstream is not None and _leads_to_server(upstream, options, admission):
        source = "--upstream" if options.upstream else "aquila_upstream" if records_elsewhere else "OPENAI_BASE_URL"
        raise ConfigError(
            f"{source} {upstream} is this server itself, which would ask itself without end; name the provider, as in "
            f"--upstream {proxies.LIVE_UPSTREAM}"
        )
    return upstream


def _leads_to_server(url: str, options: argparse.Namespace, admission: Admission) -> bool:
    """Whether a URL leads to the server that will listen where the options say."""
    try:
        parts = urlsplit(url)
        at = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False  # no URL, as is said of it elsewhere
    host = normalize_host(parts.hostname or "")
    is_local = host in SPELLINGS_OF_LOOPBACK and is_loopback(options.host)
    return at == options.port and (is_local or host in admission.hosts)


def _path_of_clients(options: argparse.Namespace, settings: Settings, upstream: str | None) -> str:
    """Return the path of the base URL that clients are told."""
    # OPENAI_BASE_URL may end like Gemini's, in /v1beta/openai. The paths of clients are then appended to it as they
    # are.
    base = settings.base_url if not options.upstream and upstream == settings.base_url else None
    return "/v1" if base is None or base.rstrip("/").endswith("/v1") else ""


def _check_options(options: argparse.Namespace) -> None:
    """Raise ``MissingDependency`` for a missing package, and ``ConfigError`` for options that no server can have."""
    for module in ("starlette", "uvicorn", "httptools"):
        import_optional(module, "serve", purpose="aquila serve")
    if options.max_body <= 0:
        raise ConfigError(f"--max-body {options.max_body} refuses every request; give megabytes from 1")
    if len(options.folders or ()) > 1:
        raise ConfigError("serve works with one cassette folder; give --dir once")
    if options.tls is not None:
        background_server.check_certificate(options.tls)


def _open_scope(options: argparse.Namespace, script: Path | None, *, upstream: str) -> Scope:
    """Open the scope of a server, or the one after a reset. Its recordings name ``upstream``."""
    scope = Scope(
        kind="block",
        name="aquila serve",
        command=record_command(options),
        default_cassette=options.cassette,
        options={**scope_options(options.record), "upstream": upstream},
    )
    if (read := _read_script(script)) is not None:
        scope.scripts.use(read)
    return scope


def record_command(options: argparse.Namespace) -> str:
    """Return the command that starts a server which records what this one misses, for the same clients."""
    given = [
        ("--dir", next(iter(options.folders or ()), None)),
        ("--script", options.script),
        ("--cassette", options.cassette),
        ("--upstream", options.upstream),  # without it, another provider would be asked
        ("--host", options.host if options.host != listening.LOOPBACK else None),
        ("--port", options.port if options.port not in (0, _PORT) else None),
        *[("--allow-host", name) for name in options.allow_host],
        ("--tls", options.tls),
    ]
    told = [word for name, value in given if value is not None for word in (name, str(value))]
    return join_words(["aquila", "serve", "--record", *told])


def _find_script(options: argparse.Namespace, settings: Settings) -> Path | None:
    """Return the file of the script, if one is given. An error in it is raised here, before the server starts."""
    if options.script is None:
        return None
    script = script_transport.script_of(options.script, settings, given=f"--script {options.script}")
    _read_script(script)
    return script


def _read_script(path: Path | None) -> Script | None:
    """Return the script in a file, read again for each reset of the server. Raises ``ConfigError``."""
    return None if path is None else script_file.load_script(path)


def _choose_admission(options: argparse.Namespace) -> Admission:
    """Return the rules of admission, with the token. Raises ``ConfigError``."""
    given = os.environ.get(_TOKEN_VARIABLE) or None
    is_open = background_server.can_be_reached(options.host)
    if given is not None:
        admissions.check_token(given, is_open=is_open, source=_TOKEN_VARIABLE)
    return admissions.Admission(
        given or admissions.make_token(),
        needs_token=is_open or given is not None,
        hosts=admissions.read_host_names([options.host, *options.allow_host]),
    )


def _print_token(admission: Admission, output: Output, *, opens_key: bool) -> None:
    """Print what the token is for, and the token itself unless the user chose it.

    ``opens_key``: whether a client with the token may use the server's API key.
    """
    shown = f"the token of {_TOKEN_VARIABLE}" if os.environ.get(_TOKEN_VARIABLE) else admission.token
    if admission.needs_token:
        output.print_line(f"every client needs the token: OPENAI_API_KEY={shown}")
    elif opens_key:
        output.print_line(f"a client that is to use this server's API key: OPENAI_API_KEY={shown}")


def _redact_target(target: str) -> str:
    settings = runtime.current_settings()
    redactor = redactor_of(settings)
    return redactor.redact_request(RecordedRequest("GET", f"http://localhost{target}")).url[len("http://localhost") :]


def _write_log_line(line: str) -> None:
    write_to_stderr(escape_controls(line))
