"""The ASGI application of the page of jobs.

::

    from starlette.applications import Starlette
    from starlette.routing import Mount
    from aquila.huey.live import app

    application = Starlette(routes=[Mount("/jobs", app(huey))])
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from aquila.errors import ConfigError
from aquila.huey.instances import AquilaHuey
from aquila.huey.live.page import actions, page_events
from aquila.huey.live.page.access import FORM_COOKIE, Access, Level, form_value_of, set_cookie
from aquila.huey.live.page.contents import JobOverview, JobPage, Queue
from aquila.huey.live.page.rendering import HERE, render_template
from aquila.huey.live.subscription import reading_limiter
from aquila.optional import import_optional
from aquila.server.admission import Admission, check_token, make_token, read_host_names
from aquila.server.page_gate import PageGate

_LARGEST_FORM = 4_096  # Bytes.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
}


def app(
    *hueys: Any,
    token: str | None = None,
    hosts: Iterable[str] = (),
    decide: Callable[[Request], Level] | None = None,
    reading_needs_token: bool = False,
    may_act: bool = True,
    most_streams: int = page_events.MOST_STREAMS,
) -> Starlette:
    """Return the page of the jobs of one or more Hueys, as an ASGI application.

    - ``hueys``: Hueys that were given to ``publish_jobs``.
    - ``token``: whoever knows it may cancel, retry, delete and pause. It has 16 characters or more. Without a token the
      page only shows.
    - ``hosts``: the names, besides those of this machine, by which browsers reach the page.
    - ``decide``: your own rule. It takes a Starlette ``Request`` and returns ``"none"``, ``"read"`` or ``"act"``, for
      example by the user who has signed in. The token is then not used.
    - ``reading_needs_token``: whether nothing is shown without the token.
    - ``may_act``: whether the token permits acting. If not, it only permits reading.
    - ``most_streams``: how many pages may be live at once. Others look again every ten seconds.

    Raises ``ConfigError`` for Hueys that cannot be shown or a token that is too short, and ``MissingDependency``
    without the extra ``jobs``.
    """
    import_optional("jinja2", "jobs", purpose="the page of jobs")
    if not hueys or not all(isinstance(one, AquilaHuey) for one in hueys):
        raise ConfigError("the page of jobs needs one Huey or more, each of aquila.huey or given to instrument()")
    if len({one.name for one in hueys}) < len(hueys):
        raise ConfigError(
            "two of these Hueys have the same name; give each a name of its own, such as RedisHuey('mail')"
        )
    if token is not None:
        # As strict as for a server that everybody can reach: who can reach the application is not known here.
        check_token(token, is_open=True, source="token=")
    admission = Admission(token or make_token(), hosts=read_host_names(hosts))
    access = Access(admission, token, reading_needs_token, decide, may_act)
    queues = {queue.name: queue for queue in map(Queue, hueys)}
    page = _JobEndpoints(queues, access, page_events.StreamSeats(most_streams))
    return Starlette(
        routes=[
            Route("/", page.show_overview, methods=["GET"], name="overview"),
            Route("/live", page.stream_overview, methods=["GET"]),
            # The name of a queue and the id of a job may be any text, so they are parameters and no part of the path.
            Route("/job", page.show_job, methods=["GET"]),
            Route("/job/live", page.stream_job, methods=["GET"]),
            Route("/act", page.act, methods=["POST"]),
            Route("/sign-in", page.show_sign_in, methods=["GET"]),
            Route("/sign-in", page.sign_in, methods=["POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(PageGate, access.find_rejection, _HEADERS)],
        exception_handlers={404: page.show_not_found, 405: page.show_not_found},
    )


class _JobEndpoints:
    """The functions behind the routes. ``queues`` are all queues, by their names; ``seats`` bounds the open streams."""

    def __init__(self, queues: Mapping[str, Queue], access: Access, seats: page_events.StreamSeats) -> None:
        self._queues = queues
        self._access = access
        self._seats = seats

    async def show_overview(self, request: Request) -> Response:
        """Show one page of the overview."""
        level = self._access.level_of(request)
        if level == "none":
            return self._ask_for_token(request)
        overview = JobOverview.read(self._queues, request.query_params, may_act=level == "act")
        return await self._render(request, "overview.html", overview.describe, level)

    async def stream_overview(self, request: Request) -> Response:
        """Send the overview again whenever it changes."""
        level = self._access.level_of(request)
        if level == "none":
            return Response(status_code=401)
        overview = JobOverview.read(self._queues, request.query_params, may_act=level == "act")
        base, form = _base_of(request), form_value_of(request)
        sent: list[str] = []

        def look() -> list[page_events.Message]:
            html = render_template("_overview.html", **overview.describe(), base=base, form=form, level=level)
            if sent == [html]:
                return []
            sent[:] = [html]
            return [("overview", html, None)]

        return self._seats.respond(
            lambda: page_events.repeat_messages(overview.queue.huey, None, look, overview.queue.outage)
        )

    async def show_job(self, request: Request) -> Response:
        """Show a job."""
        level = self._access.level_of(request)
        if level == "none":
            return self._ask_for_token(request)
        page = self._find_page(request)
        if page is None:
            return await self.show_not_found(request)
        return await self._render(request, "job.html", functools.partial(page.describe, may_act=level == "act"), level)

    async def stream_job(self, request: Request) -> Response:
        """Send the events of a job to its page while they happen."""
        level = self._access.level_of(request)
        page = self._find_page(request)
        if level == "none" or page is None:
            return Response(status_code=401 if level == "none" else 404)
        given = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        after = int(given) if given.isdecimal() and len(given) < 16 else 0
        base, form = _base_of(request), form_value_of(request)

        may_act = level == "act"

        def write(template: str, **values: Any) -> str:
            return render_template(template, **values, base=base, form=form, level=level)

        look = page.follow(after, may_act=may_act, write=write)
        return self._seats.respond(
            lambda: page_events.repeat_messages(page.queue.huey, page.job, look, page.queue.outage)
        )

    async def act(self, request: Request) -> Response:
        """Do what a form asks for, to a job or to a queue, and redirect to the page that shows it."""
        form = await self._read_form(request)
        if form is None or self._access.level_of(request) != "act":
            return self._refuse(request)
        if not self._access.may_post(request, form.get("form", "")):
            return self._refuse(request)
        queue, job, action = self._queues.get(form.get("queue", "")), form.get("id", ""), form.get("action", "")
        if queue is None or action not in actions.ACTIONS:
            return await self.show_not_found(request)

        try:
            act = functools.partial(actions.ACTIONS[action], queue.huey, queue.index, job)
            await anyio.to_thread.run_sync(act, limiter=reading_limiter())
        except actions.ActionRefused as error:
            return _say(request, 409, "That was not done", f"{error}.")
        except Exception as error:  # noqa: BLE001 -- each storage has errors of its own
            return _say_away(request, error, "look whether it was done, and try again.")
        where = f"/job?{urlencode({'queue': queue.name, 'id': job})}" if action in ("cancel", "retry") else ""
        return RedirectResponse(_base_of(request) + (where or f"/?{urlencode({'queue': queue.name})}"), 303)

    async def show_sign_in(self, request: Request) -> Response:
        """Ask for the token."""
        return self._ask_for_token(request, status=200)

    async def sign_in(self, request: Request) -> Response:
        """Open a session for a browser that shows the token."""
        form = await self._read_form(request)
        if form is None or not self._access.may_post(request, form.get("form", "")):
            return self._refuse(request)
        path = "/job" if "id" in request.query_params else "/"
        response = RedirectResponse(_base_of(request) + path + _query_of(request), 303)
        if self._access.open_session(request, response, form.get("token", "")):
            return response
        return self._ask_for_token(request, message="That is not the token.", status=403)

    async def show_not_found(self, request: Request, error: Exception | None = None) -> Response:
        """Say that there is no such page."""
        return _say(request, 404, "Not here", "There is no such job or page. The job may have been deleted.")

    def _find_page(self, request: Request) -> JobPage | None:
        queue = self._queues.get(request.query_params.get("queue", ""))
        return None if queue is None else JobPage(queue, request.query_params.get("id", ""))

    async def _render(
        self, request: Request, template: str, describe: Callable[[], dict[str, Any]], level: Level
    ) -> Response:
        form = form_value_of(request)

        def write() -> str | None:
            values = describe()
            if not values:
                return None
            can_sign_in = level == "read" and self._access.can_sign_in
            return render_template(
                template,
                **values,
                form=form,
                level=level,
                can_sign_in=can_sign_in,
                base=_base_of(request),
                asked=_query_of(request),
            )

        try:
            html = await anyio.to_thread.run_sync(write, limiter=reading_limiter())
        except Exception as error:  # noqa: BLE001 -- each storage has errors of its own
            return _say_away(request, error, "this page looks again in a few seconds.", again=True)
        return await self.show_not_found(request) if html is None else _with_form(request, form, html)

    async def _read_form(self, request: Request) -> dict[str, str] | None:
        body = bytearray()
        # If a browser leaves in the midst of a form, the part that has come is read. The hidden value may be missing;
        # then the form is refused.
        with contextlib.suppress(ClientDisconnect):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LARGEST_FORM:
                    return None
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10))

    def _refuse(self, request: Request) -> Response:
        message = "To act on jobs, open this page with the token, and try again from there."
        return _say(request, 403, "Not allowed", message)

    def _ask_for_token(self, request: Request, *, message: str = "", status: int = 401) -> Response:
        if self._access.token is None or self._access.decide is not None:
            return self._refuse(request)
        form = form_value_of(request)
        values = {"form": form, "base": _base_of(request), "asked": _query_of(request)}
        html = render_template("sign_in.html", message=message, **values)
        return _with_form(request, form, html, status)


def _base_of(request: Request) -> str:
    base: str = request.scope.get("root_path", "")
    return base


def _query_of(request: Request) -> str:
    """Return the query of a page, which the form for the token carries on to the page that is shown next."""
    query = urlencode(request.query_params.multi_items())
    return f"?{query}" if query else ""


def _say(request: Request, status: int, title: str, message: str, **more: Any) -> Response:
    """Return a page with nothing but a message."""
    html = render_template("message.html", title=title, message=message, base=_base_of(request), **more)
    return HTMLResponse(html, status)


def _say_away(request: Request, error: Exception, advice: str, **more: Any) -> Response:
    """Return a page that says that the storage has raised ``error``. Raises an error that is a fault of the page."""
    if isinstance(error, ConfigError) or page_events.is_fault_of_page(error):
        raise error
    message = f"{type(error).__name__}: {advice}"
    response = _say(request, 503, "The queue's storage does not answer", message, **more)
    response.headers["retry-after"] = "3"
    return response


def _with_form(request: Request, form: str, html: str, status: int = 200) -> Response:
    """Return a page whose forms have the hidden value ``form``, with the cookie that proves it."""
    response = HTMLResponse(html, status)
    if request.cookies.get(FORM_COOKIE) != form:
        set_cookie(request, response, FORM_COOKIE, form)
    return response
