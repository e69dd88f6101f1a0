"""A script for the processes of one run: the one that wrote it decides, and the others ask it.

They ask over a socket of the machine, in messages of plain data. Its name follows from the key that the processes of a
run share, so nothing that comes over a queue says whom a worker asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError, connection
from typing import Any, NamedTuple, Protocol

from aquila.cassettes.codecs.msgpack import MsgpackCodec
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.errors import AquilaError, reason_of
from aquila.scripting.script import ScriptedAnswer

_CODEC = MsgpackCodec(tables=False)

_ANSWERED, _ANSWERED_LAST, _NOTHING, _YES, _EXPLAINED, _FAILED = b"a", b"l", b"n", b"y", b"e", b"!"
"""What a reply is: its first byte."""

_FAILURE, _ANSWER = "note of a failure", "note of an answer"
"""What a message wants that tells of a fault."""
_GIVEN = "note of what was given"
"""What a message wants that tells of an answer of the script."""


class AnswersRequests(Protocol):
    """A script, wherever it is."""

    def decide(self, request: RecordedRequest) -> ScriptedAnswer | None:
        """Return the answer to a request, or None if it has none."""

    def explain(self, request: RecordedRequest) -> str:
        """Say for people why nothing answers a request."""

    def peek(self, request: RecordedRequest) -> RecordedResponse | None:
        """Return the answer that a request would get, and give none. None if it has none."""

    def may_answer(self, request: RecordedRequest) -> bool:
        """Whether it has an answer that a request in this form can take, whatever the request says."""

    def note_fault(
        self, request: RecordedRequest, *, is_answer: bool, met: Interaction | None = None, fault: str = ""
    ) -> None:
        """Take note of a request that met a fault, which a program may take for an answer if it ``is_answer``.

        ``met`` is what came in the place of the answer, and ``fault`` names what it met.
        """


class SharedAnswer(NamedTuple):
    """What another process got from the script of a scope of this one, or with which ``fault`` it met its answer.

    ``job`` is the id of the job that asked, if there is one.
    """

    scope: str
    interaction: Interaction
    last: bool
    fault: str
    job: str


class ScriptUnreachable(AquilaError):
    """The process that wrote a script cannot be asked, or could not decide."""


def _address_of(key: str, token: str) -> str:
    name = f"aquila-{hashlib.sha256(f'{key} {token}'.encode()).hexdigest()[:24]}"
    return rf"\\.\pipe\{name}" if sys.platform == "win32" else os.path.join(tempfile.gettempdir(), f"{name}.sock")


class ScriptServer:
    """Answers what other processes of the run ask about the scripts of this one.

    ``find_script`` finds the script of a scope by the scope's id, or that of a cassette by its name too; it raises
    ``LookupError`` for a scope that is unknown. ``key`` is that of the run. Others need ``token`` besides.
    ``note_answer`` takes down what they say that they got: only they know which secrets are in it.
    """

    def __init__(
        self,
        key: str,
        find_script: Callable[[str, str | None], AnswersRequests | None],
        note_answer: Callable[[SharedAnswer], None] | None = None,
    ) -> None:
        self.token = os.urandom(8).hex()
        self._find_script = find_script
        self._note_answer = note_answer
        self._listener = connection.Listener(_address_of(key, self.token), authkey=key.encode(), backlog=64)
        threading.Thread(target=self._serve, name="aquila-scripts", daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                asking = self._listener.accept()
            except (AuthenticationError, EOFError, ConnectionError):
                continue
            except OSError:  # closed
                return
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
            if asked["wants"] == _GIVEN:
                self._note(asked, sent)
                return _NOTHING
            if asked["wants"] == "explanation":
                return _EXPLAINED + script.explain(request).encode()
            if asked["wants"] in (_FAILURE, _ANSWER):
                script.note_fault(request, is_answer=asked["wants"] == _ANSWER)
                for each in met:
                    self._note(asked, each)
                return _NOTHING
            if asked["wants"] == "offer":
                return _YES if script.may_answer(request) else _NOTHING
            if asked["wants"] == "preview":
                response = script.peek(request)
                return _NOTHING if response is None else _ANSWERED + _pack(Interaction(request, response))
            answer = script.decide(request)
        except Exception as error:  # noqa: BLE001  of a function of the test's, or a message that is none
            return _FAILED + reason_of(error).encode()
        if answer is None:
            return _NOTHING
        return (_ANSWERED_LAST if answer.last else _ANSWERED) + _pack(Interaction(request, answer.response))

    def _note(self, asked: dict[str, Any], interaction: Interaction) -> None:
        if self._note_answer is not None:
            fault, job = str(asked.get("fault", "")), str(asked.get("job", ""))
            self._note_answer(SharedAnswer(asked["scope"], interaction, bool(asked.get("last")), fault, job))


class RemoteScript:
    """The script of a scope of another process, or of a cassette there. ``token`` is that of its server.

    ``find_job`` says for which job this context asks; the empty text for none. ``make_note`` makes of what was answered
    what may be told to others: without the secrets of this process. It returns None where nobody wants to be told.
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
    ) -> None:
        self._cassette = cassette
        self._find_job = find_job
        self._make_note = make_note
        self._key = key
        self._address = _address_of(key, token)
        self._scope = scope

    def decide(self, request: RecordedRequest) -> ScriptedAnswer | None:
        """Return the answer to a request, or None if it has none. Raises ``ScriptUnreachable``."""
        kind, content = self._ask("answer", _as_interaction(request))
        if kind == _NOTHING:
            return None
        answer = ScriptedAnswer(_unpack_one(content).response, kind == _ANSWERED_LAST)
        note = self._make_note(Interaction(request, answer.response))
        if note is not None:
            with contextlib.suppress(ScriptUnreachable):  # the answer is good, whoever hears of it
                self._ask(_GIVEN, note, last=answer.last)
        return answer

    def explain(self, request: RecordedRequest) -> str:
        """Say for people why nothing answers a request. Raises ``ScriptUnreachable``."""
        return self._ask("explanation", _as_interaction(request))[1].decode()

    def peek(self, request: RecordedRequest) -> RecordedResponse | None:
        """Return the answer that a request would get, and give none. Raises ``ScriptUnreachable``."""
        kind, content = self._ask("preview", _as_interaction(request))
        return None if kind == _NOTHING else _unpack_one(content).response

    def may_answer(self, request: RecordedRequest) -> bool:
        """Whether it has an answer that a request in this form can take. Raises ``ScriptUnreachable``."""
        return self._ask("offer", _as_interaction(request))[0] == _YES

    def note_fault(
        self, request: RecordedRequest, *, is_answer: bool, met: Interaction | None = None, fault: str = ""
    ) -> None:
        """Take note of a request that met a fault. Raises ``ScriptUnreachable``."""
        note = self._make_note(met) if met is not None else None
        sent = _as_interaction(request)
        self._ask(_ANSWER if is_answer else _FAILURE, sent, *(() if note is None else (note,)), fault=fault)

    def _ask(self, wants: str, *sent: Interaction, fault: str = "", last: bool = False) -> tuple[bytes, bytes]:
        question = {"scope": self._scope, "cassette": self._cassette, "wants": wants, "fault": fault, "last": last}
        head = json.dumps(question | {"job": self._find_job()}).encode()
        try:
            with connection.Client(self._address, authkey=self._key.encode()) as asked:
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
