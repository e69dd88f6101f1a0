"""WebSockets at the server: answers handshakes. Begin with ``WebSockets.take_over``."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from uvicorn.server import ServerState

from aquila.cassettes.model import SWITCHED
from aquila.errors import AquilaError, CassetteMiss
from aquila.intercept.web_sockets.opening_handshakes import SUBPROTOCOL, fields_of, fields_of_acceptance
from aquila.intercept.web_sockets.proxied import RefusedUpstream, SocketProxy, UpstreamConversation
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.recording.environment import DUMMY_KEY
from aquila.server.access_log import RequestLog
from aquila.server.admission import Admission
from aquila.server.client_socket import ClientSocket
from aquila.server.failures import make_response
from aquila.server.handshake import Handshake
from aquila.server.socket_relay import Relay
from aquila.server.socket_replay import ReplayToClient
from aquila.server.targets import find_obstacle, read_target
from aquila.server.waiting_clients import ClientLeft, while_client_waits
from aquila.transports.callers.failures import Failure, explain_failure
from aquila.transports.callers.proxy import FailureReplayed, KeyWithheld, Proxy, UpstreamFailed

logger = logging.getLogger("aquila")

_INTERNAL_ERROR = 1011


class WebSockets:
    """Answers handshakes through ``proxy`` if ``admission`` admits the client. ``largest_message`` is in bytes."""

    def __init__(
        self, proxy: Proxy, admission: Admission, *, largest_message: int, log: RequestLog | None = None
    ) -> None:
        self.proxy = proxy
        self.admission = admission
        self.log = log
        self.sockets = SocketProxy(proxy, largest_message=largest_message)
        self._largest_message = largest_message

    def take_over(self, handshake: Handshake, transport: asyncio.Transport, state: ServerState) -> None:
        """Answer a handshake on its connection.

        ``state`` is uvicorn's, so that its shutdown waits for the conversation.
        """
        socket = ClientSocket(largest_message=self._largest_message)
        transport.set_protocol(socket)
        socket.connection_made(transport)
        socket.data_received(handshake.head_for_protocol())
        task = asyncio.get_running_loop().create_task(_Visit(self, handshake, socket).run())
        # uvicorn calls ``shutdown`` of each of its connections, and waits for its tasks. Both are removed when the task
        # ends.
        open_one = _OpenSocket(task, socket)
        state.connections.add(open_one)  # type: ignore[arg-type]
        state.tasks.add(task)

        def forget(_: object) -> None:
            state.connections.discard(open_one)
            state.tasks.discard(task)

        task.add_done_callback(forget)


class _OpenSocket:
    """An open WebSocket in uvicorn's set of connections, which needs only ``shutdown``."""

    def __init__(self, task: asyncio.Task[None], socket: ClientSocket) -> None:
        self._task = task
        self._socket = socket

    @property
    def transport(self) -> asyncio.Transport:
        """The connection below, which uvicorn's connections have too."""
        return self._socket.transport

    def shutdown(self) -> None:
        """End the conversation, because the server ends, unless the client has ended it."""
        if not self._socket.client_has_left:
            self._task.cancel()


class _Visit:
    """One handshake and its conversation. The fields below are for the line in the log, written at the end."""

    def __init__(self, server: WebSockets, handshake: Handshake, socket: ClientSocket) -> None:
        self._server = server
        self._handshake = handshake
        self._socket = socket
        self._status: int | None = None
        self._outcome = "left"
        self._explanation = ""

    async def run(self) -> None:
        """Answer the handshake, hold the conversation to its end, and write the line of the log."""
        began = time.monotonic()
        try:
            await self._answer()
        except ClientLeft:
            pass
        except asyncio.CancelledError:
            if self._status in (None, SWITCHED):  # a refusal has been sent completely
                self._outcome += ", server ended"
            await self._socket.close_for_shutdown()
        except CassetteMiss as miss:
            self._outcome, self._explanation = "missed", str(miss)
        except AquilaError as error:
            self._outcome = "failed"
            logger.warning("a WebSocket was closed: %s", error)
            await self._socket.end(_INTERNAL_ERROR, explain_failure(error).message)
        except Exception:
            self._outcome = "failed"
            logger.exception("a WebSocket was closed for an error in Aquila")
            await self._socket.end(_INTERNAL_ERROR)
        finally:
            self._socket.transport.close()
            self._note(time.monotonic() - began)

    def _note(self, seconds: float) -> None:
        log = self._server.log
        if log is not None:
            log.note("GET", self._handshake.target, self._status, self._outcome, seconds)
            log.explain(self._explanation)

    async def _answer(self) -> None:
        server, headers = self._server, self._handshake.headers
        target, cassette = read_target(self._handshake.target, headers)
        if self._socket.request is None:  # the library could not read the handshake, and has closed the connection
            self._outcome = "refused"
            return
        failure = server.admission.find_rejection(headers)
        flaw = self._socket.flaw
        if failure is None and flaw is not None:
            self._outcome = "refused"
            await self._refuse_with(flaw.status_code, flaw.headers.raw_items(), bytes(flaw.body or b""))
            return
        failure = failure or find_obstacle("GET", target, headers, server.admission, server.proxy)
        if failure is None and target.startswith("/_aquila/"):
            failure = Failure(404, "not_found", "the server's own paths, under /_aquila/, answer no WebSockets")
        if failure is not None:
            await self._refuse(failure)
            return
        token = server.admission.token
        try:
            answering = server.sockets.answer_handshake(
                target.replace(token, DUMMY_KEY),
                [(name, value.replace(token, DUMMY_KEY)) for name, value in headers.items()],
                cassette=cassette,
                may_use_key=server.admission.is_shown(headers, target),
            )
            answer = await while_client_waits(answering, self._socket.wait_closed())
            if isinstance(answer, UpstreamConversation):
                await self._relay(answer)
            else:
                await self._replay(answer)
        except (AquilaError, KeyWithheld, UpstreamFailed) as error:
            if self._status is not None:
                raise
            self._explanation = str(error) if isinstance(error, CassetteMiss) else ""
            await self._refuse(explain_failure(error))
        except OSError as error:
            if self._status is not None:
                raise
            # The recording says that the connection failed.
            await self._refuse(explain_failure(FailureReplayed(str(error))))

    async def _refuse(self, failure: Failure) -> None:
        self._outcome = failure.outcome
        answer = make_response(failure)
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers]
        await self._refuse_with(answer.status_code, fields, bytes(answer.body))

    async def _refuse_with(self, status: int, fields: Any, body: bytes) -> None:
        self._status = status
        await self._socket.refuse(status, fields, body)

    async def _accept(self, fields: Any) -> None:
        offers = SUBPROTOCOL in self._handshake.headers
        self._status = SWITCHED
        await self._socket.accept(fields_of_acceptance(fields, offers_subprotocol=offers))

    async def _replay(self, conversation: ReplayedConversation) -> None:
        self._outcome = "replayed"
        recorded = conversation.handshake_answer
        if not recorded.has_begun:
            if recorded.end != "broken":
                await self._socket.wait_closed()  # in the recording the client left here, without an answer
            return
        if recorded.status != SWITCHED:
            await self._refuse_with(recorded.status, recorded.headers, recorded.body)
            return
        await self._accept(recorded.headers)
        in_test = self._server.proxy.scope.run.make_outcome is not None
        self._outcome += await ReplayToClient(self._socket, conversation, fails_in_silence=in_test).run()

    async def _relay(self, conversation: UpstreamConversation) -> None:
        try:
            await self._speak_with_upstream(conversation)
        except ClientLeft:
            await conversation.store_unanswered()
            raise
        finally:
            await conversation.close()

    async def _speak_with_upstream(self, conversation: UpstreamConversation) -> None:
        upstream = await while_client_waits(conversation.connect(), self._socket.wait_closed())
        recorder = conversation.recorder
        self._outcome = "passed on" if recorder is None else "recorded"
        if isinstance(upstream, RefusedUpstream):
            await self._refuse_with(upstream.status, upstream.headers, upstream.body)
            return
        fields = fields_of(upstream.response.headers.raw_items())
        if recorder is not None:
            recorder.accept(SWITCHED, fields)
        await self._accept(fields)
        self._outcome += await Relay(self._socket, upstream, recorder).run()
