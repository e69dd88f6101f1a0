"""The routes of a review's page, and their admission.

The page itself holds no data, so anyone may load it. Its data and its buttons need the token of this run, in a header
field that no page of another site can send. Requests of other sites are also refused, as by ``aquila serve``.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any, get_args

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from aquila.errors import reason_of
from aquila.recording.secrets import outgoing
from aquila.review.kept_decisions import Choice
from aquila.review.reviewing import Item, Outcome, Review
from aquila.server.admission import Admission
from aquila.server.failures import WITHOUT_TOKEN
from aquila.server.page_gate import PageGate
from aquila.server.review_page.contents import Reading, describe_item, describe_review, write_page
from aquila.transports.callers.failures import TOKEN_HEADER, Failure

_LARGEST = 65_536
_CHOICES: tuple[Choice, ...] = get_args(Choice)
_GONE = "this question is no longer in the review"


def make_application(review: Review, reading: Reading, token: str, finish: Callable[[], None]) -> Starlette:
    """Return the application of a review's page. ``finish`` is called when the user ends the review there."""
    endpoints = _ReviewEndpoints(review, reading, finish)
    return Starlette(
        routes=[
            Route("/", endpoints.show_page, methods=["GET"]),
            Route("/review", endpoints.tell_review, methods=["GET"]),
            Route("/item", endpoints.tell_item, methods=["GET"]),
            Route("/decide", endpoints.decide, methods=["POST"]),
            Route("/undo", endpoints.undo, methods=["POST"]),
            Route("/write", endpoints.write, methods=["POST"]),
            Route("/done", endpoints.end, methods=["POST"]),
        ],
        middleware=[Middleware(PageGate, _letting_in(token), {"referrer-policy": "no-referrer"})],
    )


def _letting_in(token: str) -> Callable[[Request], Failure | None]:
    """Return a function that refuses requests of other sites, and without the token everything but the page itself."""
    admission, expected = Admission(token, needs_token=True), token.encode()

    def find_rejection(request: Request) -> Failure | None:
        failure = admission.find_rejection(request.headers)
        shown = request.headers.get(TOKEN_HEADER, "").encode()
        if failure is None and request.url.path != "/" and not hmac.compare_digest(shown, expected):
            return WITHOUT_TOKEN
        return failure

    return find_rejection


class _ReviewEndpoints:
    """The requests of the page. ``_lock`` guards the review, which is not thread-safe, and the outcomes."""

    def __init__(self, review: Review, reading: Reading, finish: Callable[[], None]) -> None:
        self._review, self._reading, self._finish = review, reading, finish
        # fork: of a server, whose threads are the parent's
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []

    async def show_page(self, request: Request) -> Response:
        """Return the page, without data."""
        page = write_page()
        return HTMLResponse(page.html, headers={"content-security-policy": page.policy})

    async def tell_review(self, request: Request) -> Response:
        """Return short descriptions of all questions."""
        return await self._do(lambda: None)

    async def tell_item(self, request: Request) -> Response:
        """Return one question in full."""

        def read() -> Response:
            item = self._review.find(request.query_params.get("id", ""))
            if item is None:
                return _answer_json({"problem": _GONE}, 404)
            return _answer_json(describe_item(item, self._reading))

        return await self._run(read)

    async def decide(self, request: Request) -> Response:
        """Decide a question, all questions with the same difference (``group``), or all of a conversation (``chain``).

        Refuses if another window has decided the question meanwhile: ``was`` is the decision that the page shows.
        """
        given = await _read_body(request)
        choice, was = given.get("choice"), given.get("was")

        def act() -> str | None:
            item = self._review.find(str(given.get("id")))
            if item is None or choice not in _CHOICES:
                return _GONE
            if self._review.choice_of(item) != was:
                return "this was decided in another window"
            items = [item]
            if given.get("group") is True:
                items = self._undecided(self._review.group_of(item), item)
            elif given.get("chain") is True:
                items = self._undecided(self._review.chain_of(item), item)
            self._review.decide(items, choice)
            return None

        return await self._do(act)

    async def undo(self, request: Request) -> Response:
        """Undo the last decision."""
        return await self._do(lambda: None if self._review.undo() else "there is nothing to undo")

    async def write(self, request: Request) -> Response:
        """Write the decisions into the cassettes."""

        def act() -> None:
            self._outcomes = self._review.apply()

        return await self._do(act)

    async def end(self, request: Request) -> Response:
        """End the command that serves this page."""
        self._finish()
        return _answer_json({"done": True})

    def _undecided(self, items: Iterable[Item], chosen: Item) -> list[Item]:
        """Return ``chosen`` and those of ``items`` that are not decided or were skipped."""
        return [each for each in items if each.id == chosen.id or self._review.choice_of(each) in (None, "skip")]

    async def _do(self, act: Callable[[], str | None]) -> Response:
        """Call ``act``, and return the review after it. ``act`` returns why it did nothing, or None."""

        def run() -> Response:
            self._review.refresh()
            problem = act()
            shown = describe_review(self._review, self._outcomes, self._reading.tell_besides())
            return _answer_json({**shown, "problem": problem}, 409 if problem else 200)

        return await self._run(run)

    async def _run(self, make: Callable[[], Response]) -> Response:
        """Call ``make`` in a thread, under the lock. An error becomes a response that the page shows."""

        def run() -> Response:
            with self._lock:
                try:
                    return make()
                except Exception as error:  # noqa: BLE001 - the page shows it, so it must be sent as JSON
                    return _answer_json({"problem": outgoing.redact_outgoing(reason_of(error))}, 500)

        return await anyio.to_thread.run_sync(run)


def _answer_json(value: Any, status: int = 200) -> Response:
    # ASCII with escapes, because a recording may hold half of a surrogate pair, which UTF-8 cannot encode.
    return Response(json.dumps(value), status, media_type="application/json")


async def _read_body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request, or an empty one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            return {}
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
