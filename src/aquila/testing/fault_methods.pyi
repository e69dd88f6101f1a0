"""The faults as methods, only for type checkers and editors: ``Faults`` makes each method from the table of faults.

``tests/faults/test_methods.py`` compares them with the table.
"""

from contextlib import AbstractContextManager

from aquila.faults.failures import RetryAfter
from aquila.faults.plan import FaultPlan

class FaultMethods:
    """A method for each fault of the table."""

    def connection_refused(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """Nothing listens: the connection is refused."""

    def connection_reset(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The connection is reset after the request was sent."""

    def timeout(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """No answer begins, until the client's read timeout or the program's own ends the wait."""

    def bad_request(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """400: the request is not valid."""

    def unauthorized(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """401: the key is wrong."""

    def forbidden(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """403: the key may not do this."""

    def not_found(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """404: there is no such model."""

    def request_timeout(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """408: the provider gave up waiting for the request."""

    def unprocessable(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """422: the request cannot be processed."""

    def rate_limit(
        self, retry_after: float | None = None, *, form: RetryAfter = "seconds", times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """429: too many requests. ``retry_after`` is the delay that the provider asks for, in seconds."""

    def server_error(self, status: int = 500, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """500: the provider failed. ``status`` can be any from 500 to 599."""

    def overloaded(
        self, retry_after: float | None = None, *, times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """503, or 529 from Anthropic: the provider is overloaded."""

    def html_page(self, status: int = 502, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """502 with an HTML page, as from a proxy in between. ``status=200`` is a page that looks like success."""

    def cut_stream(
        self,
        after: int | None = None,
        *,
        after_bytes: int | None = None,
        after_seconds: float | None = None,
        times: int | None = 1,
    ) -> AbstractContextManager[FaultPlan]:
        """The connection breaks within the answer: after so many events, bytes or seconds; by default in the middle."""

    def end_early(
        self, after: int | None = None, *, after_bytes: int | None = None, times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """The answer ends as if it were complete, after so many events or bytes; by default in the middle."""

    def abnormal_close(
        self, code: int = 1011, *, reason: str = "", after: int | None = None, times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """A WebSocket is closed with ``code`` and ``reason``, after so many messages; by default in the middle."""

    def stall(
        self, seconds: float | None = None, *, after: int | None = None, times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """Nothing more arrives after so many events; by default half of them. With ``seconds``, the rest arrives
        then.
        """

    def slow(
        self, pace: float = 0.05, *, first: float = 0.0, times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """Each chunk takes ``pace`` seconds, and the first one ``first`` seconds more."""

    def one_byte(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """Every byte arrives in a chunk of its own."""

    def one_piece(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The whole answer arrives in one chunk."""

    def split_events(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """Each event arrives in two pieces, the second together with the beginning of the next event."""

    def other_chunks(self, sizes: str = "7", *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The bytes arrive in chunks of these ``sizes``, in turn: ``other_chunks("1,20,5")``."""

    def duplicated_event(self, at: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """An event arrives twice: number ``at`` (from 1), by default one in the middle."""

    def dropped_event(self, at: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """An event is missing: number ``at`` (from 1), by default one in the middle."""

    def reordered_events(self, at: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """An event arrives after the one that follows it: number ``at`` (from 1), by default one in the middle."""

    def garbage(self, at: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """An event is not JSON: number ``at`` (from 1), by default one in the middle; without a stream, the body is
        not.
        """

    def truncated_json(self, at: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The JSON of an event is cut in half: number ``at``, by default one in the middle; without a stream, the
        body.
        """

    def invalid_utf8(self, at: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """A text of an event is not UTF-8: number ``at``, by default one in the middle; without a stream,
        of the body.
        """

    def finish_length(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The answer says that it was cut off at the token limit. Its content stays."""

    def content_filter(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The answer says that a content filter cut it off. Its content stays."""

    def refusal(
        self, text: str = "I'm sorry, but I can't help with that.", *, times: int | None = 1
    ) -> AbstractContextManager[FaultPlan]:
        """The model refuses: ``text``, as a refusal, replaces all texts and tool calls."""

    def empty_answer(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The answer ends normally and is empty: no text, and no tool call."""

    def broken_arguments(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The JSON of the last tool call's arguments is cut in half."""

    def unknown_tool(self, name: str = "no_such_tool", *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The last tool call names a tool that was not offered."""

    def missing_call_id(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The last tool call has no id."""

    def no_usage(self, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The answer does not report how many tokens it took."""

    def other_model(self, name: str = "another-model", *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The answer names another model than the one that was asked."""

    def error_event(self, after: int | None = None, *, times: int | None = 1) -> AbstractContextManager[FaultPlan]:
        """The provider reports an error within the stream, after so many events; by default after half of them."""
