"""The program that pytest executes to seal a run. It then executes the run again, sealed.

A thread cannot move the other threads of its process into a namespace, so threads that plugins have started would stay
outside. So pytest replaces itself (``execve``) by this program, which has one thread and knows nothing of tests. It
enters the namespace and replaces itself by the command that the user typed. Process id, streams, working directory and
environment stay the same.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from aquila.intercept.sealing import explanation, namespace
from aquila.intercept.sealing.handed_ports import PortCarrier

_USAGE_ERROR = 4
"""The exit code of pytest for a usage error."""
_START = f"import sys; sys.path.append(sys.argv.pop(1)); from {__name__} import main; main()"


def become_sealed(command: Sequence[str], ports: Sequence[int]) -> NoReturn:
    """Execute ``command``, whose first part is the path of the program, in a sealed process in place of this one.

    ``ports`` of the machine are handed through.
    """
    packages = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    # Isolated and without `site`: no installed code runs in it, and it starts in a few milliseconds.
    program = [sys.executable, "-I", "-S", "-c", _START, packages, ",".join(map(str, ports)), *command]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if it is closed
            stream.flush()
    # Not `execv`, which passes on the environment of C, to which libraries such as readline add variables.
    os.execve(program[0], program, os.environ)


def main() -> NoReturn:
    """Seal this process and execute the command in the arguments. If the kernel refuses, say why and exit with 4."""
    ports = [int(port) for port in sys.argv[1].split(",") if port]
    command = sys.argv[2:]
    try:
        seal_process(ports)
    except namespace.NotPermitted as error:
        text = explanation.explain_refusal(error.step, error.number, explanation.look_at_machine())
        print(f"ERROR: {text}\n", file=sys.stderr, flush=True)
        sys.exit(_USAGE_ERROR)
    os.execve(command[0], command, os.environ)


def seal_process(ports: Sequence[int]) -> None:
    """Move this process, which has one thread, into a namespace of its own. Raises ``NotPermitted``."""
    namespace.close_outside_sockets()
    carrier = PortCarrier() if ports else None
    if not namespace.enter_namespace():
        print(
            "aquila: sealed, but without a user namespace, which is refused here: a process of root could leave on "
            "purpose",
            file=sys.stderr,
            flush=True,
        )
    if carrier is not None:
        try:
            carrier.hand_over(ports)
        except OSError as error:
            raise namespace.NotPermitted("listening on a port of aquila_sealed_ports", error.errno or 0) from error
    if not namespace.is_sealed():  # otherwise the run would execute this program again, without end
        raise namespace.NotPermitted("leaving every interface but the loopback", errno.EPERM)
