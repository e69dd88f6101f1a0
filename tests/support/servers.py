"""Redis and Postgres servers for tests.

Each server listens on a socket in a folder of its own, because another program could take a free port first.
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
_SHORT = 60  # The most characters of a parent folder for sockets.


def socket_folder(prefix):
    """A temporary folder for sockets. A socket's path may have 107 bytes, and no space because it is part of a URL."""
    usual = tempfile.gettempdir()
    folder = usual if len(usual) <= _SHORT and " " not in usual else "/tmp"
    return tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True)


def find_postgres():
    """Return the folder of Postgres's programs, or None."""
    on_path = shutil.which("initdb")
    folders = [os.path.dirname(on_path)] if on_path else sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return folders[-1] if folders else None


class RedisServer:
    """A Redis server that a test can stop, freeze and start again."""

    def __init__(self, folder, *, is_durable):
        """``is_durable``: the server keeps its data on disk, and so over a restart."""
        self._program, self._redis = _find_redis()
        self._path = str(Path(folder, "redis.socket"))
        self._options = ["--port", "0", "--unixsocket", self._path, "--dir", folder]
        self._options += ["--save", "", "--appendonly", "yes" if is_durable else "no"]
        self._server = None
        self.url = f"unix://{self._path}?db=0"

    def start(self):
        command = [self._program, *self._options]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = self._redis.Redis(unix_socket_path=self._path)
        _wait_for(client.ping, self._server, self._redis.ConnectionError)
        client.close()

    def stop(self):
        """End the server, as for a restart."""
        self._server.terminate()
        self._server.wait(_PATIENCE)

    def freeze(self):
        """Let the server accept connections and answer nothing."""
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._server.send_signal(signal.SIGCONT)

    def close(self):
        if self._server is not None:
            self._server.kill()
            self._server.wait(_PATIENCE)


@contextlib.contextmanager
def redis_server(*, is_durable=False):
    """Run a Redis server and yield it. Skips the test that asks for it where no Redis is installed."""
    with socket_folder("aquila-redis-") as folder:
        server = RedisServer(folder, is_durable=is_durable)
        try:
            server.start()
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
    """Run a Postgres server and yield its DSN. Skips the test that asks for it where none can run."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("no Postgres here: apt-get install postgresql")
    psycopg = pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    # Postgres refuses to run as root. Another user then runs it, who must be able to write its data.
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
                server.send_signal(signal.SIGQUIT)  # Ends at once; the data is not needed.
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
