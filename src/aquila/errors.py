"""Every exception that Aquila raises, as one tree.

::

    AquilaError
    ├── ConfigError                  an option, ini key, environment variable or argument is wrong (also a ValueError)
    │   ├── UnknownOption            no such option; the nearest one is suggested (also a TypeError)
    │   ├── UnsuitableFunction       a decorator is put on what it cannot decorate (also a TypeError)
    │   ├── UnknownTransport         no transport of that name
    │   ├── InvalidMessage           a prompt, message or role that cannot be sent
    │   └── MissingKey               a live request without an API key
    ├── MissingDependency            an optional part is not installed (also an ImportError)
    ├── LocalModelError              the embedded model cannot be loaded
    ├── CassetteError
    │   ├── CassetteNameError        a name that would leave the cassette folder (also a ValueError)
    │   ├── CassetteRequired         replay or record without a cassette
    │   ├── CassetteCorrupt          a file that is not a readable cassette
    │   │   └── CassetteTooNew       written by a newer Aquila
    │   ├── CassetteWriteError       the recording cannot be stored; the old file is as it was
    │   ├── CassetteMiss             no recording for a request *
    │   │   ├── PlayedOut            more identical requests than recordings *
    │   │   ├── RecordingTooShort    the program reads on where it had stopped when it was recorded *
    │   │   ├── UnscriptedRequest    no answer was written for a request *
    │   │   ├── FaultFailed          a fault that fits no answer, that no request met, or that nothing ended *
    │   │   ├── BudgetSpent          a request that the budget of a recording run has no room for *
    │   │   └── ConversationDrifted  a request that names an id of a replayed answer: no provider knows it *
    │   └── SessionClosed            a request through a session that has ended
    ├── LiveCallRefused              a request to a provider, or a job for a real queue, that nothing asked for *
    │   └── CassetteUnusable         a damaged cassette, or a recording that cannot be stored: a program swallowed it *
    ├── StreamError
    │   ├── StreamTimeout            nothing arrived for longer than the idle timeout (also a TimeoutError)
    │   ├── StreamConsumed           a stream was iterated a second time
    │   └── StreamClosed             a stream was used after close
    ├── SinkError                    a sink raised; its exception is the cause
    ├── ToolError                    a tool raised and ``tool_errors="raise"`` is set
    ├── ProviderError                the provider answered with an error, or not at all
    │   ├── AuthenticationError      401, 403
    │   ├── BadRequest               400, 404, 409, 422 and other 4xx
    │   ├── RateLimited              429
    │   │   └── LimitReached         a limit of the queue's own: the request was not sent
    │   ├── ProviderUnavailable      5xx, and 408
    │   ├── InvalidAnswer            an answer that is not what the protocol says (HTML, empty, broken JSON)
    │   ├── ConnectionFailed         no connection
    │   ├── RequestTimeout           ``connect``, ``read`` or ``total`` ran out (also a TimeoutError)
    │   └── StreamBroken             the connection ended in mid-stream
    ├── BudgetExceeded               a budget of tokens or money has no room for a request, which was not sent
    └── TaskError                    about Huey tasks and their queue
        ├── NotSerializable          a value that would not survive the queue as it is (also a TypeError)
        ├── MessageRejected          bytes that are damaged, foreign, too large or not signed (also a ValueError)
        ├── RemoteTaskError          a task's exception whose class is not known here, as it arrived from the worker
        ├── WaitedTooLong            a task was rescheduled for a provider as often or as long as it may be
        └── TaskContractBroken       a task that a worker would not run as the test does (also an AssertionError)

PickledMessages                      a warning: a Huey was instrumented that reads pickles from its queue

``*``: in a test it is no ``AquilaError``, and no ``Exception``: see ``UnansweredRequest``, the base of these.

A message says what happened, where, and what to do next. None contains a secret.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

if TYPE_CHECKING:
    import datetime


class AquilaError(Exception):
    """Base of all exceptions that Aquila raises, except the kind of ``UnansweredRequest`` that is raised in a test."""


def reason_of(error: BaseException) -> str:
    """Return the reason of a failure, for a message.

    For Aquila's own errors and for errors of the system it is their text. For any other error it is the class, the file
    and the line: the text of such an error may quote the data that it failed on, which may be secret.
    """
    if isinstance(error, AquilaError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = ""
    if place is not None:
        file = place.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
        where = f" in {file}, line {place.tb_lineno}"
    return type(error).__name__ + where


class ConfigError(AquilaError, ValueError):
    """An option, ini key, environment variable or argument is wrong."""


class UnknownOption(ConfigError, TypeError):
    """No option of that name exists; the message suggests the nearest one."""


class UnsuitableFunction(ConfigError, TypeError):
    """A decorator was applied to something that it cannot decorate; the message says where to put it instead."""


class UnknownTransport(ConfigError):
    """No transport of that name exists; the message names the nearest one, or the known ones."""


class InvalidMessage(ConfigError):
    """A prompt, message or role that cannot be sent."""


class MissingKey(ConfigError):
    """A live request was made without an API key."""


class MissingDependency(AquilaError, ImportError):
    """An optional part is not installed; the message holds the command that installs it."""


class LocalModelError(AquilaError):
    """The embedded model cannot be loaded."""


class CassetteError(AquilaError):
    """Base of everything about cassettes."""


class CassetteNameError(CassetteError, ValueError):
    """A cassette name that is empty, absolute, or leaves the cassette folder."""


class CassetteRequired(CassetteError):
    """Replay or record was asked for, and no cassette is given or open."""


class CassetteCorrupt(CassetteError):
    """A file that is not a readable cassette; the message names the file, and the line if it is text."""


class CassetteTooNew(CassetteCorrupt):
    """The file was written by a newer version of Aquila."""


class CassetteWriteError(CassetteError):
    """A recording could not be stored. The cassette is as it was before."""


class UnansweredRequest(BaseException):
    """Base of the errors of a request that must not be answered: a miss, or a refusal.

    Each class below has two kinds. Calling the class makes the ordinary kind: an ``AquilaError``, and so an
    ``Exception``. In a test the request raises the other kind, which ``except Exception`` does not catch, because
    clients retry or rewrite any ``Exception``. ``except`` with the name of the class catches both.

    - ``difference``: the fields that differ, one on each line, or None.
    - ``group``: equal for requests that differ from their recordings by the same change.
    - ``cure``: a setting, on one line, under which a recording would answer. It exists if all differences are in values
      that may be new in every run. Empty if it takes several lines, None if there is none.
    """

    public_class: ClassVar[type[UnansweredRequest]]
    """The public class to which this kind belongs. Only the generated kinds have it."""
    ordinary_base: ClassVar[type[AquilaError]] = AquilaError
    """The second base class of the ordinary kind."""
    # For subclasses of other packages that never call `__init__`, as ray makes for what a task has raised.
    difference: str | None = None
    group: str | None = None
    cure: str | None = None

    def __new__(cls, *args: object, **options: object) -> Self:
        # A subclass of a kind, which another package has made, belongs to the same public class.
        kind: Any = cls if hasattr(cls, "public_class") else kind_of(cls, cls.ordinary_base)
        return cast(Self, BaseException.__new__(kind, *args))

    def __init__(
        self, message: str, *, difference: str | None = None, group: str | None = None, cure: str | None = None
    ) -> None:
        super().__init__(message)
        self.difference = difference
        self.group = group
        self.cure = cure

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the ordinary kind, because the process that unpickles it may not run a test."""
        return type(self).public_class, (str(self),), self.facts

    @property
    def facts(self) -> dict[str, str | None]:
        """The attributes besides the message, as keyword arguments for a copy."""
        return {"difference": self.difference, "group": self.group, "cure": self.cure}

    @property
    def sentence(self) -> str:
        """The first line of the message: what happened, in one sentence."""
        return str(self).partition("\n")[0]


def kind_of(public: type[UnansweredRequest], base: type[BaseException], module: str = "") -> Any:
    """Return the subclass of ``public`` and ``base``. Its ``__module__`` is ``module`` if that is given."""
    return _make_kind(cast(Any, public), cast(Any, base), module)


@functools.cache  # never cleared: each kind is one class for the life of the process, or `except` would miss it
def _make_kind(public: Any, base: Any, module: str) -> Any:
    named = {"__module__": module or public.__module__, "__qualname__": public.__qualname__, "__doc__": public.__doc__}
    return _Kind(public.__name__, (public, base), {**named, "public_class": public})


class _Kind(type):
    """The class of the kinds, which pickle cannot find by their names: the public classes have these."""


def _reduce_kind(kind: Any) -> str | tuple[Any, ...]:
    """Pickle a kind as the ordinary one, as ``__reduce__`` does, and a subclass of another package by its name."""
    if "public_class" in vars(kind):
        return kind_of, (kind.public_class, kind.public_class.ordinary_base)
    return cast(str, kind.__qualname__)


copyreg.pickle(_Kind, _reduce_kind)


class CassetteMiss(UnansweredRequest):
    """No recording answers the request. The message shows the nearest recording and how the request differs."""

    ordinary_base = CassetteError


class PlayedOut(CassetteMiss):
    """The same request was made more often than it was recorded."""


class RecordingTooShort(CassetteMiss):
    """The program reads more of an answer than it read, or waited for, when the answer was recorded.

    Or it waits for a message over a WebSocket where it sent one while recording. Only a new recording of the answer
    helps (``--aquila-record=all``), because its request is recorded already.
    """


class UnscriptedRequest(CassetteMiss):
    """A script answers, and it has no answer for the request. The message shows the request and what was left."""


class FaultFailed(CassetteMiss):
    """A fault cannot be applied to an answer, no request met it, or nothing ended its silence."""


class BudgetSpent(CassetteMiss):
    """The budget of a recording run is spent, so the request was not sent. See ``aquila_record_budget``."""


class ConversationDrifted(CassetteMiss):
    """While recording, a request without a recording names an id that comes from a replayed answer.

    No provider knows that id, so the request was not sent. ``conversation`` maps each cassette to the keys of the
    recordings that belong together. It is empty if the code that made the request cannot be run again.
    """

    conversation: Mapping[str, Sequence[str]] = MappingProxyType({})


class SessionClosed(CassetteError):
    """A request came through a session that has already ended, or a block was closed that is not open."""


class LiveCallRefused(UnansweredRequest):
    """A request to a provider, or a job for a real queue, was refused because nothing in the run asked for it."""


class CassetteUnusable(LiveCallRefused):
    """The program has swallowed that a cassette cannot be read, or that its recording could not be stored."""


class StreamError(AquilaError):
    """Base of everything about a stream as an object."""


class StreamTimeout(StreamError, TimeoutError):
    """Nothing arrived for longer than the idle timeout."""


class StreamConsumed(StreamError):
    """A stream can be iterated once; make a new one."""


class StreamClosed(StreamError):
    """The stream was closed before it was used."""


class SinkError(AquilaError):
    """A sink raised while it received an event; its exception is the ``__cause__``."""


class ToolError(AquilaError):
    """A tool raised, and ``tool_errors="raise"`` is set; its exception is the ``__cause__``."""


class ProviderError(AquilaError):
    """The provider answered with an error, or did not answer.

    ``status`` is the HTTP status or None, ``request_id`` the provider's id of the request or None, ``body`` the
    decoded error body or None. ``retry_after`` is the number of seconds after which the provider wants the request to
    be sent again, counted from the arrival of the answer, or None. It comes from the header ``retry-after`` (seconds
    or a date) or ``retry-after-ms``.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        body: Any = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after


class AuthenticationError(ProviderError):
    """401 or 403: the key is missing, wrong, or not allowed to do this."""


class BadRequest(ProviderError):
    """400, 404, 409, 422 or another 4xx: the request itself is refused."""


class RateLimited(ProviderError):
    """429: too many requests, or no quota left.

    ``retry_after`` is in seconds, or None if the provider names no time.
    """


class LimitReached(RateLimited):
    """A limit of the queue is reached, or the provider told another worker to wait. The request was not sent.

    ``limit`` is the limit as the user wrote it; ``retry_after`` is the number of seconds until the request may be sent.
    """

    # The defaults are for a pickle, which makes the error of its message alone and sets the fields afterwards.
    def __init__(self, message: str, *, limit: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit


class ProviderUnavailable(ProviderError):
    """5xx or 408: the provider failed; the same request may succeed later."""


class InvalidAnswer(ProviderError):
    """The answer is not what the protocol says (HTML, empty, broken JSON), or what ``response_format`` asks for."""


class ConnectionFailed(ProviderError):
    """No connection to the provider."""


class RequestTimeout(ProviderError, TimeoutError):
    """A time limit ran out: ``connect`` or ``read`` before the answer began, or ``total`` at any time."""


class StreamBroken(ProviderError):
    """The connection ended before the answer was complete."""


class BudgetExceeded(AquilaError):
    """A budget of a queue or a task has no room for a request, which was not sent.

    ``budget`` is the cap as the user wrote it, and ``spent`` is how much of it is spent, in tokens or money.
    ``resets_at`` is the time in UTC when the budget is reset, or None if it never is.
    """

    # The defaults are for a pickle, as those of `LimitReached`.
    def __init__(
        self, message: str, *, budget: str = "", spent: float = 0.0, resets_at: datetime.datetime | None = None
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.spent = spent
        self.resets_at = resets_at


class TaskError(AquilaError):
    """Base of everything about Huey tasks and their queue."""


class NotSerializable(TaskError, TypeError):
    """A value that the queue would lose or change; the message says where it is and what to send instead."""


class MessageRejected(TaskError, ValueError):
    """Bytes from a queue or a result store that are damaged, foreign, too large, or not signed with the secret."""


class RemoteTaskError(TaskError):
    """A task's exception whose class is not known on this side, as it arrived from the worker.

    ``type_name`` is the full name of its class, ``text`` what it said.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}"


class WaitedTooLong(TaskError):
    """A task was rescheduled for a provider, or for a limit, as often or as long as it may be.

    The last such error is the ``__cause__``.
    """


class TaskContractBroken(TaskError, AssertionError):
    """A task that would not behave in a worker as it does in the test; the message says which rule it breaks."""


class PickledMessages(UserWarning):
    """A Huey was instrumented that reads pickles: whoever can write to its queue runs code in its workers."""
