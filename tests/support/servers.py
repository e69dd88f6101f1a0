"""Redis and Postgres servers of the tests' own, ended with the run.

Each listens on a socket in a folder of its own: a free port may be taken by another program before it is used.
"""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

_PATIENCE = 120  # Seconds for a server to come up.
_SHORT = 60  # Bytes of a folder in which sockets may lie, further below.


def socket_folder(prefix):
    """A temporary folder for sockets, wherever others are: their paths have at most 107 bytes, and stand in URLs."""
    usual = tempfile.gettempdir()
    folder = usual if len(usual) <= _SHORT and " " not in usual else "/tmp"
    return tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True)


def find_postgres():
    """The folder of Postgres's programs, or None."""
    on_path = shutil.which("initdb")
    folders = [os.path.dirname(on_path)] if on_path else sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return folders[-1] if folders else None


@contextlib.contextmanager
def redis_server():
    """Run a Redis server and yield its URL. Skips the test that asks for it where none can be run."""
    program, redis = _find_redis()
    with socket_folder("aquila-redis-") as folder:
        path = str(Path(folder, "redis.socket"))
        place = ["--port", "0", "--unixsocket", path, "--dir", folder]
        command = [program, *place, "--save", "", "--appendonly", "no"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                client = redis.Redis(unix_socket_path=path)
                _wait_for(client.ping, server, redis.ConnectionError)
                client.close()
                yield f"unix://{path}?db=0"
            finally:
                server.kill()


class UnsteadyRedis:
    """A Redis server that a test stops and starts. It keeps its data on disk, and so over a restart."""

    def __init__(self, folder):
        self._program, self._redis = _find_redis()
        self._folder = folder
        self._path = str(Path(folder, "redis.socket"))
        self._server = None
        self.url = f"unix://{self._path}?db=0"
        self.start()

    def start(self):
        place = ["--port", "0", "--unixsocket", self._path, "--dir", self._folder]
        command = [self._program, *place, "--save", "", "--appendonly", "yes"]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = self._redis.Redis(unix_socket_path=self._path)
        _wait_for(client.ping, self._server, self._redis.ConnectionError)
        client.close()

    def stop(self):
        """End it, as for a restart."""
        self._server.terminate()
        self._server.wait(_PATIENCE)

    def freeze(self):
        """Let it accept connections and answer nothing."""
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._server.send_signal(signal.SIGCONT)

    def close(self):
        self._server.kill()
        self._server.wait(_PATIENCE)


@contextlib.contextmanager
def unsteady_redis():
    """Run a Redis server that can be stopped, frozen and started again, and yield it."""
    with socket_folder("aquila-redis-") as folder:
        server = UnsteadyRedis(folder)
        try:
            yield server
        finally:
            server.close()


def _find_redis():
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here: apt-get install redis-server")
    return program, pytest.importorskip("redis", reason="the package redis is not installed")


@contextlib.contextmanager
def postgres_server():
    """Run a Postgres server and yield its DSN. Skips the test that asks for it where none can be run."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("no Postgres here: apt-get install postgresql")
    psycopg = pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    # It refuses to run as root, and then needs another user who may write where it keeps its data.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user and shutil.which("setpriv") is None:
        pytest.skip("Postgres refuses to run as root, and there is no setpriv here")
    with socket_folder("aquila-postgres-") as folder:
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
        data = str(Path(folder, "data"))
        create = [*as_user, f"{programs}/initdb", "-D", data, "-A", "trust", "-U", "aquila", "--no-sync"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        options = ["-c", "fsync=off", "-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
        serve = [*as_user, f"{programs}/postgres", "-D", data, *options]
        with subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as server:
            dsn = f"host={folder} user=aquila dbname=postgres"
            try:
                _wait_for(lambda: psycopg.connect(dsn).close(), server, psycopg.OperationalError)
                yield dsn
            finally:
                server.send_signal(signal.SIGQUIT)  # At once, whatever is connected: the data is thrown away.
                server.wait(_PATIENCE)


def _wait_for(connect, server, expected):
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return connect()
        except expected:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
