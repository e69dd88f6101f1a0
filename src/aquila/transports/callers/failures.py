"""The error answers for requests that cannot be answered: status, code and message."""

from __future__ import annotations

from dataclasses import dataclass

from aquila.errors import CassetteMiss, CassetteNameError, ConfigError, LiveCallRefused, SessionClosed
from aquila.transports.callers.proxy import FailureReplayed, KeyWithheld, UpstreamFailed

TOKEN_HEADER = "x-aquila-token"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error answer. ``outcome`` is the word for the log; ``retry`` lets clients send the request again."""

    status: int
    code: str
    message: str
    outcome: str = "refused"
    retry: bool = False

    @property
    def body(self) -> dict[str, object]:
        """The JSON body, as clients of model providers expect it."""
        return {"error": {"message": self.message, "type": "aquila_error", "code": self.code, "param": None}}

    @property
    def headers(self) -> dict[str, str]:
        """The header fields, which tell the SDKs not to retry (OpenAI's ``x-should-retry``)."""
        return {} if self.retry else {"x-should-retry": "false"}


def explain_failure(error: BaseException) -> Failure:
    """Return the answer for a client whose request has raised ``error``."""
    match error:
        case CassetteMiss():
            return Failure(404, "cassette_miss", str(error), "missed")
        case ConfigError() | CassetteNameError():
            return Failure(400, type(error).__name__, str(error))
        case LiveCallRefused():
            return Failure(501, "not_answered", str(error))
        case KeyWithheld():
            return Failure(401, "no_token", _KEY_WITHHELD)
        case SessionClosed():
            return Failure(409, "session_closed", str(error))
        case FailureReplayed():
            told = f"the upstream was not asked, because this failure is recorded, or a fault of the test: {error}"
            anew = "to ask it in place of a recording, record with =all"
            return Failure(502, "upstream_failed", f"{told}; {anew}", "replayed", retry=True)
        case UpstreamFailed():
            return Failure(502, "upstream_failed", f"the upstream did not answer: {error}", "failed", retry=True)
    return Failure(500, type(error).__name__, str(error), "failed")


_KEY_WITHHELD = (
    "this request has no API key of its own and would have to be sent. The server uses its own key only for clients "
    "that show its token: send the token (aquila serve printed it when it started; the fixture has it as "
    f"aquila_server.token) as the API key or in the header {TOKEN_HEADER}"
)
