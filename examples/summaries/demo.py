"""See Aquila do its whole job on this machine, without a key and without a network. Run by ``make demo``.

It works on a copy of this example in the folder .demo, so nothing in the checkout changes. Every line of the table at
the end was checked by looking at what is really there: database rows, cassettes, connections, processes.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

EXAMPLE = Path(__file__).resolve().parent

PROMPT = "Write an executive summary."
CHANGED_PROMPT = "Write an executive summary for a reader in a hurry."

STARTED = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system")
"""What the guard notes when a process starts another. The openai SDK asks ``uname`` for the kind of processor."""

UNREACHABLE = "192.0.2.1"
"""An address that is reserved for documentation: no network leads to it."""

SCRUBBED = ("AQUILA_", "OPENAI_", "ANTHROPIC_", "SUMMARIES_", "PYTEST_", "PYTHON", "DEMO_", "FORCE_COLOR")
"""How names of variables begin that may be set in the shell and would decide what the demo shows."""

LIMIT = 900.0
"""Seconds after which a command is given up. A busy machine needs long for a model, but never that long."""

Row = tuple[str, str, str, str, str, tuple[str, ...]]
"""What a job stored: task, prompt, status, text, raw answer, chunks. Not its random id, and not when."""


class NotSo(Exception):
    """Something that the demo claims is not true; the text says what is true."""


def require(claim: bool, otherwise: str) -> None:
    """Raise ``NotSo`` unless a claim holds."""
    if not claim:
        raise NotSo(otherwise)


def say(text: str = "", *, style: str = "", whole: bool = False) -> None:
    """Print a line now, cut to the width of the terminal unless it is to be ``whole``."""
    width = shutil.get_terminal_size().columns
    plain = without_colours(text)
    if not whole and len(plain) > width:
        text = f"{plain[: width - 1]}…"
    text = text.encode(sys.stdout.encoding, "replace").decode(sys.stdout.encoding)
    print(f"\x1b[{style}m{text}\x1b[0m" if style and is_coloured() else text, flush=True)


def without_colours(text: str) -> str:
    """Return a line without the codes of its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def is_coloured() -> bool:
    """Whether what is printed has colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


BOLD, DIM, GREEN, RED = "1", "2", "32", "31"

ALL = re.compile("")

ABOUT_PYTEST = re.compile(r"aquila: .* replayed, |  tests/|    \S+ \S+  [\d.]+ s|=+ .*(passed|failed)")
"""The lines of a run of pytest that the demo shows: what was recorded, and the summary."""

ABOUT_MISS = re.compile(r"E +(CassetteMiss|recorded |now )|=+ .*(passed|failed)")
"""Those of a run in which a test misses: what differs."""


@dataclass
class Demo:
    """The folder of the demo, and what its steps hand on to each other."""

    folder: Path
    rows: dict[str, list[Row]] = field(default_factory=dict)
    cassettes: dict[str, str] = field(default_factory=dict)
    model_ports: set[int] = field(default_factory=set)
    has_git: bool = False

    @property
    def app(self) -> Path:
        """The copy of the example."""
        return self.folder / "summaries"

    def environment(self, *, offline: bool, extra: dict[str, str]) -> dict[str, str]:
        """The environment of a command: the shell's, without what would decide anything, and with the guard."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}
        return {
            **kept,
            "PYTHONPATH": str(self.folder / "guard"),
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
            "DEMO_LOG": str(self.folder / "log"),
            "DEMO_OFFLINE": "1" if offline else "0",
            "COLUMNS": str(shutil.get_terminal_size().columns - len("  ")),
            **extra,
        }

    @contextmanager
    def started(
        self, arguments: Sequence[str], *, offline: bool = True, quiet: bool = False, **extra: str
    ) -> Iterator[subprocess.Popen[str]]:
        """A running command of this Python, in the copy of the example. It has ended when the block has."""
        if not quiet:
            variables = "".join(f"{name}={value} " for name, value in extra.items())
            say(f"$ {variables}{as_typed(arguments)}", style=BOLD, whole=True)
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.app,
            env=self.environment(offline=offline, extra=extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        watchdog = threading.Timer(LIMIT, process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            end(process)

    def run(
        self, *arguments: str, stdin: str = "", shown: re.Pattern[str] | None = ALL, **options: Any
    ) -> tuple[int, str]:
        """Run a command to its end. Lines that begin as ``shown`` are shown as they come. Returns status and output."""
        with self.started(arguments, **options) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(stdin)
            process.stdin.close()
            lines = []
            for line in process.stdout:
                lines.append(line)
                if shown is not None and shown.match(without_colours(line)):
                    say(f"  {re.sub('^E +', '', line.rstrip())}")
            return process.wait(), "".join(lines)

    def pytest(
        self, name: str, *options: str, shown: re.Pattern[str] = ABOUT_PYTEST, also: Sequence[str] = (), **settings: Any
    ) -> Tests:
        """Run the example's tests. Their temporary folders, with the databases, stay in the folder ``name``.

        ``also`` are options that change nothing but what is printed.
        """
        colour = f"--color={'yes' if is_coloured() else 'no'}"
        quiet = (*also, "-p", "no:cacheprovider", colour, f"--basetemp=../{name}", f"--junitxml=../{name}.xml")
        variables = "".join(f"{name}={value} " for name, value in settings.items())
        say(f"$ {variables}{shlex.join(['pytest', *options])}", style=BOLD, whole=True)
        status, output = self.run("-m", "pytest", *options, *quiet, quiet=True, shown=shown, **settings)
        output = without_colours(output)
        report = self.folder / f"{name}.xml"
        require(report.exists(), f"pytest ended with status {status} before it had run the tests")
        return Tests.of(report, status, output)

    def noted(self) -> list[dict[str, Any]]:
        """What the guard has noted since it was last asked."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def require_alone(self, who: str) -> None:
        """Raise ``NotSo`` if a connection was made, or the model started, since the guard was last asked."""
        notes = [note for note in self.noted() if note["event"] not in STARTED or "_model_process.py" in str(note)]
        require(not notes, f"{who} should need no connection and no model: {notes}")

    def stored(self, name: str) -> dict[str, list[Row]]:
        """What the tests of a run have stored, by the folder of the test."""
        root = self.folder / name
        return {str(path.parent.relative_to(root)): rows_of(path) for path in sorted(root.rglob("summaries.db"))}

    def digests(self) -> dict[str, str]:
        """The cassettes of the copy, each with the hash of its bytes."""
        root = self.app / "cassettes"
        files = sorted(path for path in root.rglob("*") if path.is_file() and ".journal" not in path.parts)
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass
class Tests:
    """What a run of pytest reports."""

    status: int
    total: int
    failures: list[str]
    output: str

    @classmethod
    def of(cls, report: Path, status: int, output: str) -> Tests:
        """Read the report of a run."""
        cases = list(ElementTree.parse(report).iter("testcase"))
        unsuccessful = [part for case in cases for part in case if part.tag in ("failure", "error", "skipped")]
        return cls(status, len(cases), [part.text or "" for part in unsuccessful], output)

    def require_all_passed(self) -> None:
        """Raise ``NotSo`` unless tests ran and each of them passed."""
        require(self.total > 0, "pytest found no tests")
        require(
            not self.failures and self.status == 0,
            f"{len(self.failures)} of {self.total} tests did not pass; pytest's exit status is {self.status}",
        )


def as_typed(arguments: Sequence[str]) -> str:
    """A command of this Python as one would type it."""
    if arguments[0] == "-c":
        return f'python -c "{arguments[1]}"'
    return f"python {shlex.join(arguments)}".replace("python -m huey.bin.huey_consumer", "huey_consumer")


def rows_of(path: Path) -> list[Row]:
    """The rows of a database."""
    with closing(sqlite3.connect(path, timeout=10)) as database:
        rows = database.execute("select job, task, prompt, status, text, raw from summaries order by rowid").fetchall()
        chunks = database.execute("select job, text from chunks order by job, number").fetchall()
    return [(*row[1:], tuple(text for job, text in chunks if job == row[0])) for row in rows]


def chunks_in(stored: dict[str, list[Row]]) -> list[str]:
    """Every chunk that was stored, in order."""
    return [chunk for rows in stored.values() for row in rows for chunk in row[-1]]


def end(process: subprocess.Popen[str]) -> None:
    """See that a process has ended, kindly first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with closing(stream):
                pass


# The steps. Each returns what it found, for the table, or raises NotSo.


def model_answers(demo: Demo) -> str:
    """A real model answers, small and embedded: no key, no network"""
    call = "aquila.ask('What is an eagle?', transport='local', temperature=0, max_output_tokens=24)"
    say("$ python -c \"aquila.ask('What is an eagle?', transport='local', ...)\"", style=BOLD)
    status, output = demo.run("-c", f"import aquila; print({call})", quiet=True)
    require(status == 0, "the local model did not answer: " + (output.strip().splitlines() or ["no output"])[-1])
    require(bool(output.strip()), "the local model gave an empty answer")
    demo.noted()
    return "no key, no network"


def record(demo: Demo) -> str:
    """Tests run against the model, and its answers are recorded in cassettes"""
    tests = demo.pytest("record", "--aquila-record", AQUILA_UPSTREAM="local")
    tests.require_all_passed()
    notes = demo.noted()
    demo.model_ports = {note["address"][1] for note in notes if note["event"] == "socket.connect" and note["local"]}
    require(bool(demo.model_ports), "no connection to the model's server was seen")
    demo.rows, demo.cassettes = demo.stored("record"), demo.digests()
    answers = [json.loads(row[4]) for rows in demo.rows.values() for row in rows if row[2] == "done"]
    require(bool(answers), "no test has stored an answer")
    models = {answer["model"] for answer in answers}
    require(models == {"smollm2-135m-instruct"}, f"the answers are from {models}, not from the embedded model")
    require(bool(demo.cassettes), "no cassette was written")
    require(len(chunks_in(demo.rows)) > 20, "the streams came in too few chunks to show anything")
    written = sum(name.endswith(".yaml") for name in demo.cassettes)
    demo.has_git = bool(git(demo, "init", "--quiet", ".") and git(demo, "add", "cassettes"))
    return f"{tests.total} tests, {written} cassettes, {len(chunks_in(demo.rows))} chunks stored"


def git(demo: Demo, *arguments: str) -> list[str] | None:
    """Run git in the copy of the example. Returns an empty line and those it prints, or None where it does not work."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # A configuration may colour what is read here, or show differences by another program.
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "--no-pager", "-c", "core.autocrlf=false", *arguments]
    try:
        done = subprocess.run(
            command, cwd=demo.app, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:  # it is not installed
        return None
    return ["", *done.stdout.splitlines()] if done.returncode == 0 else None


def replay(demo: Demo) -> str:
    """They replay: the model is stopped, the network refused, the answers the same"""
    ports = ", ".join(map(str, sorted(demo.model_ports)))
    deadline = time.monotonic() + 30
    while any(map(is_open, demo.model_ports)):  # its process ends just after the one that started it
        require(time.monotonic() < deadline, f"the model's server still listens on port {ports}")
        time.sleep(0.05)
    check_guard(demo)
    say(f"  nothing listens on the model's port {ports} any more; the network is refused", style=DIM)
    tests = demo.pytest("replay")
    tests.require_all_passed()
    demo.require_alone("the tests")
    require(demo.digests() == demo.cassettes, "a replay changed the cassettes")
    rows = demo.stored("replay")
    require(rows.keys() == demo.rows.keys(), f"other tests have stored something: {sorted(rows)}, {sorted(demo.rows)}")
    for test, before in demo.rows.items():
        require(rows[test] == before, f"{test} stored something else than when it was recorded")
    return f"{tests.total} tests, the same {len(chunks_in(rows))} chunks, 0 connections"


def check_guard(demo: Demo) -> None:
    """See that the guard does refuse the network, or its silence would prove nothing."""
    program = f"import socket; socket.create_connection(({UNREACHABLE!r}, 443), timeout=1)"
    _, output = demo.run("-c", program, shown=None, quiet=True)
    notes = demo.noted()
    require("the demo is offline" in output, "a connection to the network was not refused")
    require(any(note.get("refused") for note in notes), "the guard did not note what it refused")


def work(demo: Demo) -> str:
    """A worker of Huey does jobs from a queue, in replay"""
    recorded = {row[:2]: row for rows in demo.rows.values() for row in rows if row[2] == "done"}
    document, prompt = (next(prompt for name, prompt in recorded if name == task) for task in TASKS)
    jobs = []
    for arguments, stdin in ((("summarize", "-"), document), (("stream", prompt), "")):
        status, output = demo.run("-m", "summaries", *arguments, stdin=stdin, shown=None)
        require(status == 0, f"the command ended with status {status}")
        jobs.append(re.sub(r".* as job ", "", output.strip()))
    database = demo.app / "data" / "summaries.db"
    require([row[2] for row in rows_of(database)] == ["queued", "queued"], "the jobs are not in the queue")

    consumer = ("-m", "huey.bin.huey_consumer", "summaries.tasks.huey", "--workers=2")
    with demo.started(consumer, AQUILA_TRANSPORT="replay") as process:
        wait_for_jobs(process, database)
        process.send_signal(signal.SIGINT)  # it finishes what it has begun
        output, _ = process.communicate(timeout=60)
    require(process.returncode == 0, f"the worker ended with status {process.returncode}: {output}")
    demo.require_alone("the worker")

    demo.run("-m", "summaries", "show", jobs[0], shown=re.compile("text"))
    done = rows_of(database)
    require(len(done) == 2, f"there are {len(done)} rows, not 2")
    for row in done:
        require(recorded.get(row[:2]) == row, f"{row[0]} is {row[2]}, and not what was recorded: {row[3]!r}")
    return f"2 rows stored by process {process.pid}, 0 connections"


TASKS = ("generate_summary", "stream_prompt")


def wait_for_jobs(process: subprocess.Popen[str], database: Path) -> None:
    """Wait until no job is queued or running. Raises ``NotSo`` if the worker ends before that, or takes too long."""
    deadline = time.monotonic() + 120
    while any(row[2] in ("queued", "running") for row in rows_of(database)):
        if process.poll() is not None:
            assert process.stdout is not None
            raise NotSo(f"the worker ended with status {process.returncode}:\n{process.stdout.read()}")
        if time.monotonic() > deadline:
            raise NotSo(f"the jobs are not done after two minutes: {[row[:3] for row in rows_of(database)]}")
        time.sleep(0.1)


def survive(demo: Demo) -> str:
    """A stream breaks after five events; the job is tried again, and stores it all"""
    test = "tests/test_tasks.py::test_a_job_survives_a_stream_that_is_cut"
    source = (demo.app / "tests" / "test_tasks.py").read_text(encoding="utf-8")
    marker = '@pytest.mark.aquila(faults="cut_stream(after=5)")'
    require(marker in source, f"the test does not bear {marker}")
    logged = ("--log-level=ERROR", "-o", "log_cli=true")
    tests = demo.pytest("survive", test, shown=re.compile("aquila.errors|=+ .*passed"), also=logged)
    tests.require_all_passed()
    require("StreamBroken" in tests.output, "no stream broke")
    demo.require_alone("the test")
    require(demo.digests() == demo.cassettes, "a fault changed the cassettes")
    stored = [row for rows in demo.stored("survive").values() for row in rows]
    recorded = [row for rows in demo.rows.values() for row in rows if row[:2] == stored[0][:2] and row[2] == "done"]
    require(stored == recorded[:1], "what the second attempt stored is not what was recorded")
    return f"StreamBroken, then {len(stored[0][-1])} chunks stored, as recorded"


def drift(demo: Demo) -> str:
    """A prompt changes: its test fails, records anew, and git shows what changed"""
    source = demo.app / "summaries" / "tasks.py"
    text = source.read_text(encoding="utf-8")
    require(text.count(PROMPT) == 1, f"tasks.py does not hold the prompt {PROMPT!r} once")
    source.write_text(text.replace(PROMPT, CHANGED_PROMPT), encoding="utf-8")

    test = "tests/test_tasks.py::test_a_summary_and_the_raw_answer_are_stored"
    # What Huey logs is the same once more.
    tests = demo.pytest("drift", test, shown=ABOUT_MISS, also=("--show-capture=no",))
    require(tests.status == 1, f"pytest ended with status {tests.status}; a test that fails gives 1")
    require(tests.total == len(tests.failures) == 1, f"{len(tests.failures)} of {tests.total} tests failed")
    [message] = tests.failures
    for part in ("CassetteMiss", PROMPT, CHANGED_PROMPT, "--aquila-record"):
        require(part in message, f"the error does not say {part!r}")
    require(demo.digests() == demo.cassettes, "the failing test changed the cassettes")
    demo.require_alone("the failing test")
    return record_anew(demo)


def record_anew(demo: Demo) -> str:
    """Record what drifted, show what that changed in the cassettes, and replay everything."""
    cassette = demo.app / "cassettes" / "jobs" / "generate_summary.yaml"
    before = cassette.read_text(encoding="utf-8").splitlines()
    demo.pytest("again", "--aquila-record", AQUILA_UPSTREAM="local").require_all_passed()
    changed = {name for name, digest in demo.digests().items() if demo.cassettes.get(name) != digest}
    require("jobs/generate_summary.yaml" in changed, "the cassette of the changed prompt is as it was")
    require("jobs/stream_prompt.yaml" not in changed, "a cassette changed whose prompt did not")

    diff = git(demo, "diff", "cassettes") if demo.has_git else None
    say("$ git diff cassettes" if diff else "  what has changed in the cassette", style=BOLD)
    lines = diff or difflib.unified_diff(before, cassette.read_text(encoding="utf-8").splitlines(), lineterm="", n=0)
    added = [line for line in lines if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))]
    telling = [line for line in added if re.match(r"[+-] +(content: Write|model: smol|text: )", line)]
    require(any(CHANGED_PROMPT in line for line in telling), f"the difference does not show the prompt: {added}")
    for line in telling:
        say(f"  {line}", style=GREEN if line.startswith("+") else RED)
    say(f"  … and {len(added) - len(telling)} more lines", style=DIM)

    demo.noted()
    demo.pytest("replay-again", shown=re.compile("=+ .*(passed|failed)")).require_all_passed()
    demo.require_alone("the tests")
    return "CassetteMiss, recorded anew, and green again"


STEPS: tuple[Callable[[Demo], str], ...] = (model_answers, record, replay, work, survive, drift)


def is_open(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with closing(socket.socket()) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The frame around the steps


def prepare(folder: Path) -> Demo:
    """A fresh copy of the example, without its cassettes, and the guard."""
    shutil.rmtree(folder, ignore_errors=True)
    leave = shutil.ignore_patterns("cassettes", "data", "__pycache__", ".*", "demo*.py")
    shutil.copytree(EXAMPLE, folder / "summaries", ignore=leave)
    (folder / "guard").mkdir()
    shutil.copyfile(EXAMPLE / "demo_guard.py", folder / "guard" / "sitecustomize.py")
    return Demo(folder)


def perform(demo: Demo) -> bool:
    """Do the steps and print the table. Returns whether all of it happened."""
    say("Aquila at work on a small application, with a real model, in a minute or two:", style=BOLD)
    titles = [f"{number} {(step.__doc__ or '').strip()}" for number, step in enumerate(STEPS, 1)]
    for title in titles:
        say(f"  {title}")
    lines: list[tuple[str, str, float | None]] = []
    failed = ""
    for title, step in zip(titles, STEPS, strict=True):
        if failed:
            lines.append((title, "not reached", None))
            continue
        say(title, style=BOLD)
        began = time.monotonic()
        try:
            found = step(demo)
        except (NotSo, OSError, subprocess.SubprocessError, sqlite3.Error) as error:
            failed = found = str(error) if isinstance(error, NotSo) else f"{type(error).__name__}: {error}"
        lines.append((title, f"FAILED: {found}" if failed else found, time.monotonic() - began))

    say("What happened, in seconds", style=BOLD)
    for title, found, seconds in lines:
        time_taken = "" if seconds is None else f"{seconds:.1f}"
        style = RED if found.startswith("FAILED") else DIM if seconds is None else GREEN
        say(f"  {title.partition(' ')[0]}  {time_taken:>6}  {found}", style=style, whole=found.startswith("FAILED"))
    say(f"{'It did not work' if failed else 'All of it worked'}. See for yourself: {shown(demo.app)}", whole=True)
    if not failed:
        say(f"Jobs on a page: make jobs-demo; those that were done here: {command_of_page(demo)}", whole=True)
    return not failed


def command_of_page(demo: Demo) -> str:
    """What to type, where the demo was started, for the page of the jobs that its worker did."""
    program = os.path.relpath(Path(sys.executable).with_name("aquila"), demo.app)
    arguments = (program, "jobs", "--huey", "summaries.tasks:huey", "--port", "8000")
    return f"(cd {shlex.quote(str(shown(demo.app)))} && {shlex.join(arguments)})"


def shown(path: Path) -> Path:
    """A path as it is shown: relative to where the demo was started, if it is in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def interrupted(number: int, frame: object) -> NoReturn:
    """End like a command that was interrupted, with everything that was started."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo in .demo, or in a temporary folder where that is not possible. Returns the exit status."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupted)
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        print("Aquila is not installed for this Python; run the demo with: make demo", file=sys.stderr)
        return 1
    folder = Path(".demo").absolute()
    try:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another demo is running in {folder}; wait for its end", file=sys.stderr)
        return 1
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="aquila-demo-"))
    try:
        return 0 if perform(prepare(folder / "work")) else 1
    except KeyboardInterrupt:
        say("\ninterrupted; everything that was started has ended")
        return 130


if __name__ == "__main__":
    sys.exit(main())
