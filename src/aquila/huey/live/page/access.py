"""Decides who may look at jobs, and who may act on them, by the header fields of a request. Does no I/O.

Reading needs nothing where only this machine can ask. Acting always needs the token, or the permission of the
application. A page of another site can do neither, for three reasons. It is recognised by the header fields that
browsers set (see ``aquila.server``). An action needs a value that only pages of this server have. And browsers send
the cookies along with no request from another site, except when somebody follows a link.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from aquila.server.admission import Admission
from aquila.transports.callers.failures import TOKEN_HEADER, Failure

Level = Literal["none", "read", "act"]

SESSION_COOKIE, FORM_COOKIE = "aquila_jobs_session", "aquila_jobs_form"
_SESSION_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of a page.

    - ``admission``: which requests are let in at all.
    - ``token``: a request with the token may act. None: no request may.
    - ``reading_needs_token``: without the token nothing is shown.
    - ``decide``: a rule of the application, which returns ``none``, ``read`` or ``act`` for a request. It replaces the
      token.
    """

    admission: Admission
    token: str | None = field(default=None, repr=False)
    reading_needs_token: bool = False
    decide: Callable[[Request], Level] | None = None
    may_act: bool = True
    """Whether the token permits acting, and not only reading."""

    @property
    def can_sign_in(self) -> bool:
        """Whether somebody who may only read can get to act by showing the token."""
        return self.token is not None and self.decide is None and self.may_act

    def find_rejection(self, request: Request) -> Failure | None:
        """Return why a request is not let in at all, or None if it is."""
        headers = request.headers
        is_opened_in_browser = request.method in ("GET", "HEAD") and headers.get("sec-fetch-dest") == "document"
        if is_opened_in_browser and headers.get("sec-fetch-mode") == "navigate":
            # Somebody follows a link. The site with the link sees nothing of this page, because it may be in no frame;
            # so the two header fields that name the site are not held against the request.
            headers = headers.mutablecopy()
            for name in ("sec-fetch-site", "origin"):
                del headers[name]
        failure = self.admission.find_rejection(headers)
        if failure is not None and failure.code == "foreign_page":
            return Failure(403, "foreign_page", "a page of another site sent this; open the page itself")
        return failure

    def level_of(self, request: Request) -> Level:
        """Return what the sender of a request may do: ``none``, ``read`` or ``act``."""
        if self.decide is not None:
            level = self.decide(request)
            return level if level in ("read", "act") else "none"
        if self.token is not None and (self._shows_token(request) or self._is_session(request)):
            return "act" if self.may_act else "read"
        return "none" if self.reading_needs_token else "read"

    def may_post(self, request: Request, given: str) -> bool:
        """Whether a form was sent by a page of this server, or by a program that shows the token.

        ``given`` is the hidden value of the form.
        """
        # A browser cannot be made to send the header field with the token from another site, so it is enough.
        if self._shows_token(request):
            return True
        is_own = bool(request.headers.get("origin")) or request.headers.get("sec-fetch-site") == "same-origin"
        expected = request.cookies.get(FORM_COOKIE, "")
        return is_own and len(expected) >= 32 and hmac.compare_digest(expected.encode(), given.encode())

    def open_session(self, request: Request, response: Response, given: str) -> bool:
        """Set the cookie of a session if ``given`` is the token. Returns whether it is.

        The session ends after twelve hours. Nothing is stored on the server: the cookie is signed with the token.
        """
        if self.token is None or not hmac.compare_digest(self.token.encode(), given.strip().encode()):
            return False
        until = str(int(time.time()) + _SESSION_SECONDS)
        set_cookie(request, response, SESSION_COOKIE, f"{until}.{self._sign(until)}", seconds=_SESSION_SECONDS)
        return True

    def _shows_token(self, request: Request) -> bool:
        given = request.headers.get(TOKEN_HEADER)
        return self.token is not None and given is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def _is_session(self, request: Request) -> bool:
        until, _, signature = request.cookies.get(SESSION_COOKIE, "").partition(".")
        if not until.isdecimal() or not hmac.compare_digest(signature.encode(), self._sign(until).encode()):
            return False
        return time.time() < int(until[:15])  # Cut, because `int` of a very long text raises.

    def _sign(self, until: str) -> str:
        return hmac.new((self.token or "").encode(), f"aquila jobs {until}".encode(), hashlib.sha256).hexdigest()


def form_value_of(request: Request) -> str:
    """Return the hidden value for the forms of a page: that of the cookie, or a new one."""
    # A cookie of any other form was not set by this server, and is not written into the page.
    known = request.cookies.get(FORM_COOKIE, "")
    return (
        known if len(known) == 43 and known.replace("-", "a").replace("_", "a").isalnum() else secrets.token_urlsafe(32)
    )


def set_cookie(request: Request, response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Set a cookie that scripts cannot read, and that browsers send along from other sites only with a link.

    ``seconds`` is how long it lasts; None until the browser is closed.
    """
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=request.scope.get("root_path", "") or "/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
