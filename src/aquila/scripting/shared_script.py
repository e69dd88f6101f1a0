"""A script for all processes of one run: the process that wrote it decides, and the others ask that process.

They ask over a local socket, in messages of plain data. The name of the socket is derived from the key that the
processes of a run share. So a message of a queue cannot choose which process a worker asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError
from typing import Any, NamedTuple, Protocol

from aquila.cassettes.codecs.msgpack import MsgpackCodec
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.errors import AquilaError, reason_of
from aquila.fork_locks import renewed_in_child
from aquila.scripting.script import Gives, ScriptedAnswer
from aquila.scripting.unguarded_connections import connect, listen
from aquila.temporary_folders import TemporaryFolder, path_of

_CODEC = MsgpackCodec(tables=False)

_PAUSE_AFTER_ERROR = 0.01  # Seconds.

_ANSWERED, _ANSWERED_LAST, _NOTHING, _YES, _EXPLAINED, _FAILED = b"a", b"l", b"n", b"y", b"e", b"!"
"""The first byte of a reply, which tells its kind."""

_FAULT_MET = "note of a fault"
"""The ``wants`` of a message that reports a fault that a request has met, with what it ``gives``."""
_ANSWER_GIVEN = "note of what was given"
"""The ``wants`` of a message that reports an answer of the script."""


class AnswersRequests(Protocol):
    """A script, in this process or in another."""

    @property
    def deciding(self) -> contextlib.AbstractContextManager[object]:
        """Is held by a thread that looks at an answer and then says what becomes of it."""

    def decide(self, request: RecordedRequest, *, fault: str = "") -> ScriptedAnswer | None:
        """Return the answer to a request and count it; None if there is none.

        ``fault`` names the fault that only delivers it in other chunks, if one does.
        """

    def explain(self, request: RecordedRequest) -> str:
        """Return a message that says why nothing answers a request."""

    def peek(self, request: RecordedRequest) -> RecordedResponse | None:
        """Return the answer that a request would get, and give none. None if it has none."""

    def may_answer(self, request: RecordedRequest) -> bool:
        """Whether it has an answer that a request in this form can take, whatever the request says."""

    def note_fault(
        self, request: RecordedRequest, *, gives: Gives, met: Interaction | None = None, fault: str = ""
    ) -> None:
        """Note a request that met a fault. ``gives`` says what the program gets in spite of it: not all.

        ``met`` is the interaction with the faulted response, and ``fault`` names the fault.
        """


class SharedAnswer(NamedTuple):
    """An answer that another process got from a script of this one, or the ``fault`` that it met instead.

    ``scope`` is the id of the script's scope, ``job`` the id of the job that asked, empty if there is none.
    """

    scope: str
    interaction: Interaction
    last: bool
    fault: str
    job: str


class ScriptUnreachable(AquilaError):
    """The process that wrote a script cannot be reached, or could not decide."""


_PURPOSE, _SOCKET = "scripts", "socket"
"""The purpose of the temporary folder, and the name in it, of the socket that is asked."""


def _mark_of(key: str, token: str) -> str:
    return hashlib.sha256(f"{key} {token}".encode()).hexdigest()[:24]


def _address_of(mark: str, meeting_place: str | None) -> str:
    """Return the address of the server with a mark. Raises ``OSError`` if there is no folder for temporary files."""
    # In a folder that only this user can open: a stranger who connects and sends nothing would keep all others waiting.
    return (
        rf"\\.\pipe\aquila-{mark}"
        if sys.platform == "win32"
        else os.path.join(path_of(_PURPOSE, mark, meeting_place), _SOCKET)
    )


class ScriptServer:
    """Answers the questions of other processes of the run about the scripts of this process.

    - ``key``: the key of the run. Other processes need ``token``, too.
    - ``find_script``: takes the id of a scope and the name of a cassette, or None. Returns the script of the scope or
      of the cassette, or None. Raises ``LookupError`` for an unknown scope.
    - ``note_answer``: gets the answers that other processes report. Only they know which secrets are in them.
    - ``meeting_place``: the folder in which they look for this server; None for that of temporary files.

    The accepting thread, and one for each question, are daemon threads: they end with the process, or after ``close``.
    """

    def __init__(
        self,
        key: str,
        find_script: Callable[[str, str | None], AnswersRequests | None],
        note_answer: Callable[[SharedAnswer], None] | None = None,
        meeting_place: str | None = None,
    ) -> None:
        self.token = os.urandom(8).hex()
        self._find_script = find_script
        self._note_answer = note_answer
        mark = _mark_of(key, self.token)
        self._folder = TemporaryFolder(_PURPOSE, mark, meeting_place)
        self._closed = threading.Event()
        try:
            self._listener = listen(_address_of(mark, meeting_place), key.encode())
        except BaseException:
            self._folder.close()
            raise
        threading.Thread(target=self._serve, name="aquila-scripts", daemon=True).start()

    @property
    def is_reachable(self) -> bool:
        """Whether its folder still exists. It may be gone with the folder of a test, or somebody has deleted it."""
        return os.path.isdir(self._folder.path)

    def close(self) -> None:
        """Stop answering, and close the socket."""
        self._closed.set()
        self._listener.close()
        self._folder.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                asking = self._listener.accept()
            except (AuthenticationError, EOFError, OSError):
                # `close` was called. Or a stranger has connected, or a process that was killed meanwhile, or this
                # process has too many open files; then the next connection may be good.
                self._closed.wait(_PAUSE_AFTER_ERROR)
                continue
            threading.Thread(target=self._answer, args=(asking,), name="aquila-script", daemon=True).start()

    def _answer(self, asking: Any) -> None:
        with asking, contextlib.suppress(EOFError, OSError):
            asking.send_bytes(self._reply_to(asking.recv_bytes()))

    def _reply_to(self, message: bytes) -> bytes:
        try:
            head, _, packed = message.partition(b"\n")
            asked = json.loads(head)
            try:
                script = self._find_script(asked["scope"], asked["cassette"])
            except LookupError:
                return _FAILED + b"the test that wrote it has ended"
            if script is None:
                return _NOTHING
            sent, *met = _unpack(packed)
            request = sent.request
            if asked["wants"] == _ANSWER_GIVEN:
                self._note(asked, sent)
                return _NOTHING
            if asked["wants"] == "explanation":
                return _EXPLAINED + script.explain(request).encode()
            if asked["wants"] == _FAULT_MET:
                script.note_fault(request, gives=asked["gives"])
                for each in met:
                    self._note(asked, each)
                return _NOTHING
            if asked["wants"] == "offer":
                return _YES if script.may_answer(request) else _NOTHING
            if asked["wants"] == "preview":
                response = script.peek(request)
                return _NOTHING if response is None else _ANSWERED + _pack(Interaction(request, response))
            answer = script.decide(request)
        # A function of the test may raise anything, and a message may be malformed. The other process gets the reason.
        except Exception as error:  # noqa: BLE001
            return _FAILED + reason_of(error).encode()
        if answer is None:
            return _NOTHING
        return (_ANSWERED_LAST if answer.last else _ANSWERED) + _pack(Interaction(request, answer.response))

    def _note(self, asked: dict[str, Any], interaction: Interaction) -> None:
        if self._note_answer is not None:
            fault, job = str(asked.get("fault", "")), str(asked.get("job", ""))
            self._note_answer(SharedAnswer(asked["scope"], interaction, bool(asked.get("last")), fault, job))


class RemoteScript:
    """The script of a scope in another process, or of a cassette in that scope.

    - ``key``: the key of the run. ``token`` and ``meeting_place`` are those of the ``ScriptServer``.
    - ``scope``: the id of the scope. ``cassette``: the name of the cassette, or None.
    - ``find_job``: returns the id of the job in whose context the request is sent, an empty text for none.
    - ``make_note``: returns an interaction without the secrets of this process, to be reported; None if it need not be
      reported.
    """

    def __init__(
        self,
        key: str,
        token: str,
        scope: str,
        cassette: str | None = None,
        *,
        find_job: Callable[[], str] = str,
        make_note: Callable[[Interaction], Interaction | None] = lambda interaction: None,
        meeting_place: str | None = None,
    ) -> None:
        self._meeting_place = meeting_place
        self._cassette = cassette
        self._find_job = find_job
        self._make_note = make_note
        self._key = key
        self._mark = _mark_of(key, token)
        self._scope = scope
        self.deciding = renewed_in_child(threading.RLock())
        """Is held by a thread of this process that looks at an answer and then says what becomes of it."""

    def decide(self, request: RecordedRequest, *, fault: str = "") -> ScriptedAnswer | None:
        """Return the answer to a request and count it; None if there is none. Raises ``ScriptUnreachable``."""
        kind, content = self._ask("answer", _as_interaction(request))
        if kind == _NOTHING:
            return None
        answer = ScriptedAnswer(_unpack_one(content).response, kind == _ANSWERED_LAST)
        note = self._make_note(Interaction(request, answer.response))
        if note is not None:
            with contextlib.suppress(ScriptUnreachable):  # the answer is good even if the report is lost
                self._ask(_ANSWER_GIVEN, note, fault=fault, last=answer.last)
        return answer

    def explain(self, request: RecordedRequest) -> str:
        """Return a message that says why nothing answers a request. Raises ``ScriptUnreachable``."""
        return self._ask("explanation", _as_interaction(request))[1].decode()

    def peek(self, request: RecordedRequest) -> RecordedResponse | None:
        """Return the answer that a request would get, without counting it. Raises ``ScriptUnreachable``."""
        kind, content = self._ask("preview", _as_interaction(request))
        return None if kind == _NOTHING else _unpack_one(content).response

    def may_answer(self, request: RecordedRequest) -> bool:
        """Whether some answer fits the form of a request. Raises ``ScriptUnreachable``."""
        return self._ask("offer", _as_interaction(request))[0] == _YES

    def note_fault(
        self, request: RecordedRequest, *, gives: Gives, met: Interaction | None = None, fault: str = ""
    ) -> None:
        """Note a request that met a fault. Raises ``ScriptUnreachable``."""
        note = self._make_note(met) if met is not None else None
        sent = _as_interaction(request)
        self._ask(_FAULT_MET, sent, *(() if note is None else (note,)), gives=gives, fault=fault)

    def _ask(self, wants: str, *sent: Interaction, **more: str | bool) -> tuple[bytes, bytes]:
        question = {"scope": self._scope, "cassette": self._cassette, "wants": wants, "job": self._find_job(), **more}
        head = json.dumps(question).encode()
        try:
            with connect(_address_of(self._mark, self._meeting_place), self._key.encode()) as asked:
                asked.send_bytes(head + b"\n" + _pack(*sent))
                reply = asked.recv_bytes()
        except (OSError, EOFError, AuthenticationError) as error:
            raise ScriptUnreachable(
                f"the script of the test cannot be asked from this process: {reason_of(error)}. A worker that is "
                "started by hand has no part in the scripts of a test: start it from the test"
            ) from error
        if reply[:1] == _FAILED:
            raise ScriptUnreachable(f"the script of the test gave no answer: {reply[1:].decode()}")
        return reply[:1], reply[1:]


def _as_interaction(request: RecordedRequest) -> Interaction:
    return Interaction(request, RecordedResponse(200))


def _pack(*interactions: Interaction) -> bytes:
    return _CODEC.dumps(Cassette(interactions))


def _unpack(packed: bytes) -> Sequence[Interaction]:
    return _CODEC.loads(packed, source="a message about a script").interactions


def _unpack_one(packed: bytes) -> Interaction:
    (interaction,) = _unpack(packed)
    return interaction
