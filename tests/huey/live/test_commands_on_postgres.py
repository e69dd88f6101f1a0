"""``aquila jobs`` and ``aquila dead-letters`` show and change what lies in Postgres."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import httpx2
import pytest

APP = """
    import os

    from aquila.huey import PostgresHuey
    from aquila.huey.live import publish_jobs

    huey = PostgresHuey("jöbs", dsn=os.environ["JOBS_DSN"])
    publish_jobs(huey)


    @huey.task()
    def write(topic):
        raise ValueError(f"nothing is known of {topic}\\0")


    def prepare():
        write("eagles"), write("öwls"), huey.storage.enqueue(b"damaged")
        while (task := huey.dequeue()) is not None:
            huey.execute(task)
        huey.publisher.store.flush()
        print(write.schedule(("storks",), delay=3600).id)
"""


@pytest.fixture
def run(tmp_path, postgres_dsn):
    """Run a program of the interpreter in the folder of the application, or start one."""
    (tmp_path / "pg_app.py").write_text(textwrap.dedent(APP))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILA_", "PYTHON"))}
    environment |= {"JOBS_DSN": postgres_dsn, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}

    def run(*words, starts=False, **variables):
        options = {"cwd": tmp_path, "env": {**environment, **variables}, "text": True, "stdout": subprocess.PIPE}
        if starts:
            return subprocess.Popen([sys.executable, *words], **options)
        return subprocess.run([sys.executable, *words], **options, check=True).stdout

    return run


@pytest.mark.slow
def test_dead_letters_and_the_page_on_postgres(run):
    def letters(command, *words):
        return run("-m", "aquila", "dead-letters", command, "--huey", "pg_app:huey", *words)

    scheduled = run("-c", "import pg_app; pg_app.prepare()").strip()
    listed = letters("list")
    assert all(text in listed for text in ("3 dead letters", "nothing is known of öwls", "unreadable"))
    first, second = re.findall(r"^(\S+-\S+) .* failed ", listed, re.MULTILINE)
    assert "Traceback" in letters("show", first)
    assert "1 message put into the queue again" in letters("retry", first)
    assert "1 dead letter removed" in letters("drop", second)
    assert "1 dead letter" in letters("list")
    token = "a-token-of-the-users"
    page = run(
        "-m", "aquila", "jobs", "--huey", "pg_app:huey", "--actions", "--port", "0",
        starts=True, AQUILA_JOBS_TOKEN=token,
    )  # fmt: skip
    with page, httpx2.Client(transport=httpx2.HTTPTransport(), headers={"x-aquila-token": token}) as client:
        try:
            url = page.stdout.readline().partition(" at ")[2].strip()
            overview = client.get(url)
            assert all(topic in overview.text for topic in ("eagles", "öwls", "storks"))
            assert "öwls" in client.get(url, params={"q": "öwls"}).text
            done = client.post(f"{url}/act", data={"queue": "jöbs", "id": scheduled, "action": "cancel"})
            assert done.status_code == 303
            assert client.get(f"{url}/job", params={"queue": "jöbs", "id": second}).status_code == 200
        finally:
            page.send_signal(signal.SIGINT)
        assert page.wait() == 0
    revoked = run("-c", f"import pg_app; print(pg_app.huey.is_revoked({scheduled!r}))").strip()
    assert revoked == "True"
