"""Cassettes beside those of vcrpy and cassetter: loading, deciding, saving, recording, size and memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import itertools
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cassetter
import openai
import vcr
import vcr.matchers
import yaml
from cassetter._core import Cassette as TheirCassette
from vcr.cassette import Cassette as VcrCassette
from vcr.record_mode import RecordMode
from vcr.request import Request as VcrRequest
from vcr.serializers import yamlserializer

import aquila
from aquila.cassettes.codecs import codec_for
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.compiled_copies import load_compiled_bytes
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import ReplayDecision
from benchmarks import traffic
from benchmarks.harness import QUICK, Report, Times, duration, in_process, main, paired, size

CORPUS = Path(os.environ.get("AQUILA_CORPUS") or Path(__file__).parent.parent.parent / "shared" / "corpus")
SIZES = (10, 1_000) if QUICK else (10, 1_000, 10_000)
BODY = ("method", "uri", "body")


# --- files


def write_all(folder: Path, name: str, cassette: Cassette) -> dict[str, Path]:
    """Write one cassette in every format. Returns the paths by the name of the format."""
    files = {
        "aquila .yaml": folder / f"{name}.yaml",
        "aquila .msgpack": folder / f"{name}.msgpack",
        "vcrpy .yaml": folder / f"{name}.vcr.yaml",
        "cassetter .yaml": folder / f"{name}.cassetter.yaml",
        "cassetter .toml": folder / f"{name}.cassetter.toml",
    }
    cassette_files.save_cassette(files["aquila .yaml"], cassette)
    cassette_files.save_cassette(files["aquila .msgpack"], cassette)
    traffic.write_as_vcrpy(files["vcrpy .yaml"], cassette.interactions)
    traffic.write_as_cassetter(files["cassetter .yaml"], cassette.interactions)
    traffic.write_as_cassetter(files["cassetter .toml"], cassette.interactions)
    return files


def load_ours(path: Path) -> object:
    """Read and parse a file, without any cache."""
    return codec_for(path).loads(path.read_bytes(), source=path.name)


def load_vcrpy(path: Path) -> VcrCassette:
    """Load a file as vcrpy does when a cassette is entered."""
    loaded = VcrCassette.load(path=str(path), record_mode=RecordMode.NONE)
    assert len(loaded)  # vcrpy treats a file that it cannot read as empty
    return loaded


def load_cassetter(path: Path) -> object:
    """Load a file as cassetter does when a cassette is entered."""
    return TheirCassette.load(str(path))


LOADERS: dict[str, Callable[[Path], object]] = {
    "aquila .yaml": load_ours,
    "aquila .msgpack": load_ours,
    "vcrpy .yaml": load_vcrpy,
    "cassetter .yaml": load_cassetter,
    "cassetter .toml": load_cassetter,
}


def readable(files: dict[str, Path]) -> dict[str, Path]:
    """Return the files that their own library can read. cassetter refuses large ones."""
    able = {}
    for name, path in files.items():
        with contextlib.suppress(ValueError):
            LOADERS[name](path)
            able[name] = path
    return able


def load_all(files: list[Path], load: Callable[[Path], object]) -> None:
    """Load several files."""
    for path in files:
        load(path)


# --- loading


def corpus_files(folder: Path) -> dict[str, list[Path]]:
    """Write the corpus in every format, the peers' with all headers. Leave out cassettes that a library cannot read."""
    forms: dict[str, list[Path]] = {name: [] for name in LOADERS}
    for path in sorted((CORPUS / "vcrpy").glob("*/*.yaml")):
        cassette = codec_for(path).loads(path.read_bytes(), source=path.name)
        assert isinstance(cassette, Cassette)
        files = write_all(folder, f"{path.parent.name}-{path.stem}", cassette)
        files["vcrpy .yaml"].write_text(yamlserializer.serialize(_with_plain_bodies(path)))
        theirs = TheirCassette.load(str(files["vcrpy .yaml"]))
        for name in ("cassetter .yaml", "cassetter .toml"):
            theirs.save(str(files[name]))
        if readable(files) == files:
            for name, file in files.items():
                forms[name].append(file)
    return forms


def _with_plain_bodies(path: Path) -> Any:
    """Return a cassette of the corpus as plain vcrpy writes it. Some have a JSON body parsed by another serializer."""
    content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    for interaction in content["interactions"]:
        for side, name in (("request", "body"), ("response", "body")):
            if "parsed_body" in interaction[side]:
                body = json.dumps(interaction[side].pop("parsed_body"))
                interaction[side][name] = body if side == "request" else {"string": body}
        interaction["request"].setdefault("body", None)
        interaction["response"].setdefault("body", {"string": ""})
    return content


def loading(report: Report, folder: Path) -> None:
    """Measure cold and warm loads, of the corpus and of made cassettes."""
    if CORPUS.is_dir():
        forms = corpus_files(folder / "corpus")
        count = len(forms["vcrpy .yaml"])
        times = paired(
            {name: functools.partial(load_all, forms[name], LOADERS[name]) for name in forms}
            | {"aquila .yaml, warm": functools.partial(load_all, forms["aquila .yaml"], warm_load)},
            rounds=9,
        )
        report.table(f"Loading the {count} cassettes of the corpus", times, base="vcrpy .yaml")
        load_aims(report, "the corpus", times)
        sizes = {name: sum(file.stat().st_size for file in files) for name, files in forms.items()}
        report.rows(("the same on disk", "bytes"), [(name, size(total)) for name, total in sizes.items()])
    else:
        report.note("The corpus is not here (AQUILA_CORPUS names its folder): only made cassettes are measured.")
    for count in SIZES:
        files = write_all(folder, f"made-{count}", traffic.cassette(count))
        able = readable(files)
        times = paired(
            {name: functools.partial(LOADERS[name], path) for name, path in able.items()}
            | {"aquila .yaml, warm": functools.partial(warm_load, files["aquila .yaml"])},
            rounds=25 if count < 1000 else 5 if count < 10_000 else 3,
            number=20 if count < 1000 else 1,
            warm=1,
        )
        report.table(f"Loading {count:,} interactions", times, base="vcrpy .yaml")
        for name in files.keys() - able.keys():
            report.note(f"{name}: its own library refuses the file.")
        load_aims(report, f"{count:,} interactions", times)


def warm_load(path: Path) -> object:
    """Load a file that an earlier run has loaded: through its compiled copy, with nothing in memory."""
    return load_copy(path, path.parent / "copies")


def load_copy(path: Path, copies: Path) -> Cassette:
    """Load a file through its compiled copy in a folder. Write the copy if there is none. Keep nothing in memory."""
    data = path.read_bytes()
    return load_compiled_bytes(data, path, copies, hashlib.sha256(data).digest())


def load_aims(report: Report, what: str, times: Times) -> None:
    """Compare the times of loads with the aims."""
    warm, peers = "aquila .yaml, warm", [name for name in times.rounds if name.startswith("cassetter")]
    report.aim(f"warm load of {what}", 1 / times.ratio(warm, "vcrpy .yaml"), at_least=40, unit="x as fast as vcrpy")
    if peers:
        best = min(peers, key=times.median)
        report.aim(
            f"warm load of {what}", 1 / times.ratio(warm, best), at_least=5, unit=f"x as fast as {best}, their best"
        )
    report.aim(f"cold load of {what}", times.ratio("aquila .yaml", "vcrpy .yaml"), at_most=1, unit="of vcrpy's time")


# --- deciding


def session_of(cassette: Cassette) -> Session:
    """Return a replay session that may play each recording any number of times."""
    rules = MatchRules()
    return Session(
        "made",
        cassette,
        mode="replay",
        rules=rules,
        identify_request=lambda request: key_of(request, rules),
        redactor=Redactor.from_environment(os.environ),
        explain_miss=lambda missed: Explanation("not recorded"),
        repeat="last",
    )


def deciding(report: Report, folder: Path) -> None:
    """Measure how long a session takes to find the recording of a request, by the number of recordings."""
    rows = []
    medians = {}
    for count in SIZES:
        cassette = traffic.cassette(count)
        files = write_all(folder, f"made-{count}", cassette)
        session = session_of(cassette)
        order = random.Random(1).sample(range(count), min(count, 500))
        turn, other, third, fourth = (itertools.cycle(order) for _ in range(4))
        live = [traffic.request(number) for number in range(count)]
        spaced = [
            RecordedRequest(one.method, one.url, one.headers, json.dumps(json.loads(one.body), sort_keys=True).encode())
            for one in live
        ]

        def ours(requests: list[RecordedRequest], turn: Iterator[int], session: Session = session) -> None:
            assert isinstance(session.decide(requests[next(turn)]), ReplayDecision)

        theirs = load_vcrpy(files["vcrpy .yaml"])
        theirs._match_on = tuple(getattr(vcr.matchers, name) for name in BODY)
        theirs.allow_playback_repeats = True

        def of_vcrpy(
            turn: Iterator[int] = third, live: list[RecordedRequest] = live, theirs: VcrCassette = theirs
        ) -> None:
            one = live[next(turn)]
            theirs.play_response(VcrRequest(one.method, one.url, one.body, dict(one.headers)))

        subjects: dict[str, Callable[[], object]] = {
            "aquila": functools.partial(ours, live, turn),
            "aquila, body written in another way": functools.partial(ours, spaced, other),
        }
        number = 200
        times = paired(subjects, rounds=15, number=number)
        subjects = {"vcrpy, bodies compared": of_vcrpy}
        able = readable(files)
        if "cassetter .yaml" in able or "cassetter .toml" in able:
            subjects["cassetter, bodies compared"] = of_cassetter(able, live, fourth)
        slow = paired(subjects, rounds=3, number=3, warm=1)
        medians[count] = times.median("aquila"), times.median("aquila, body written in another way")
        for one in (times, slow):
            rows += [(name, f"{count:,}", duration(one.median(name))) for name in one.rounds]
    report.heading("Finding the answer to a request, bodies compared")
    report.rows(("", "interactions", "median"), sorted(rows))
    largest = max(SIZES)
    report.aim(f"decide among {largest:,}", medians[largest][0] * 1e6, at_most=30, unit="µs")
    report.aim(f"decide among {largest:,}, written in another way", medians[largest][1] * 1e6, at_most=30, unit="µs")
    report.aim(
        f"decide, {largest:,} against {SIZES[0]}", medians[largest][0] / medians[SIZES[0]][0], at_most=3, unit="x"
    )


def of_cassetter(files: dict[str, Path], live: list[RecordedRequest], turn: Iterator[int]) -> Callable[[], None]:
    """Return a function that lets cassetter find the recording of the next request."""
    from cassetter._core import MatchConfig

    path = files.get("cassetter .toml") or files["cassetter .yaml"]
    theirs = cassetter.Cassette(path, match_config=MatchConfig(match_on=["method", "uri", "json_body"]))
    theirs.load()

    def find() -> None:
        one = live[next(turn)]
        theirs.play(one.method, one.url, {name: [value] for name, value in one.headers}, one.body)

    return find


# --- saving


def saving(report: Report, folder: Path) -> None:
    """Measure how long it takes to turn a cassette into the content of a file."""
    from vcr.serialize import serialize

    for count in SIZES[:2]:
        cassette = traffic.cassette(count)
        files = write_all(folder, f"made-{count}", cassette)
        theirs = load_vcrpy(files["vcrpy .yaml"])
        content = theirs._as_dict()
        rust = TheirCassette.load(str(files["cassetter .toml"]))
        yaml_codec, msgpack_codec = codec_for(Path("a.yaml")), codec_for(Path("a.msgpack"))
        subjects: dict[str, Callable[[], object]] = {
            "aquila .yaml": functools.partial(yaml_codec.dumps, cassette),
            "aquila .msgpack": functools.partial(msgpack_codec.dumps, cassette),
            "vcrpy .yaml": functools.partial(serialize, content, yamlserializer),
            "cassetter .yaml": functools.partial(rust.save, str(folder / "saved.yaml")),
        }
        times = paired(subjects, rounds=7 if count < 1000 else 3, number=10 if count < 1000 else 1, warm=1)
        report.table(f"Saving {count:,} interactions", times, base="vcrpy .yaml")
    streamed = Cassette.from_interactions([traffic.streamed(200)])
    files = write_all(folder, "stream", streamed)
    load_vcrpy(files["vcrpy .yaml"])
    report.heading("A stream of 200 chunks, on disk")
    sizes = {name: path.stat().st_size for name, path in files.items()}
    report.rows(("", "bytes"), [(name, size(count)) for name, count in sizes.items()])
    report.aim(
        "a 200-chunk stream", sizes["aquila .yaml"] / sizes["vcrpy .yaml"], at_most=1 / 8, unit="of vcrpy's bytes"
    )


# --- recording


class Paced(http.server.BaseHTTPRequestHandler):
    """Sends a stream with a chunk every 10 ms."""

    protocol_version = "HTTP/1.1"
    events: Sequence[bytes] = ()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in self.events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client has closed its connection
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def serving(count: int) -> Iterator[str]:
    """Run a server in this process that streams ``count`` chunks. Yields its base URL."""
    handler = type("Counted", (Paced,), {"events": traffic.stream_events(count)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def first_chunk(report: Report, folder: Path) -> None:
    """Measure how long the first chunk of a live stream takes, with and without a recorder."""
    names = map(str, itertools.count())

    def measure(
        url: str, context: Callable[[], contextlib.AbstractContextManager[object]], routed: bool = False
    ) -> float:
        with (
            context(),
            openai.OpenAI(api_key="no-key", base_url=url, http_client=aquila.http_client() if routed else None) as via,
        ):
            start = time.perf_counter()
            chunks = iter(via.chat.completions.create(**traffic.body_of(int(next(names)), stream=True)))
            next(chunks)
            taken = time.perf_counter() - start
            for _ in chunks:
                pass
        return taken

    @contextlib.contextmanager
    def recording() -> Iterator[None]:
        with aquila.use_cassette(f"live/{next(names)}", transport="record") as cassette:
            assert cassette.record_count == 0  # opens the cassette now, as the peers do
            yield

    contexts: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[object]], bool]] = {
        "no recorder": (contextlib.nullcontext, False),
        "aquila": (recording, True),
        "vcrpy": (lambda: vcr.use_cassette(str(folder / f"live/{next(names)}.vcr.yaml")), False),
        "cassetter": (lambda: cassetter.use_cassette(folder / f"live/{next(names)}.c.yaml"), False),
    }

    def compare(subjects: Sequence[str], count: int, rounds: int) -> Times:
        with serving(count) as url:
            taken: dict[str, list[float]] = {name: [] for name in subjects}
            for turn in range(-1, 3 if QUICK else rounds):
                for name in subjects if turn % 2 else reversed(subjects):
                    seconds = measure(url, *contexts[name])
                    if turn >= 0:
                        taken[name].append(seconds)
        return Times(taken)

    title = "First chunk while recording a stream of {} chunks, one each 10 ms"
    report.table(title.format(50), compare(tuple(contexts), 50, 5), base="no recorder")
    times = compare(("no recorder", "aquila"), 5, 41)
    report.table(title.format(5), times, base="no recorder")
    report.aim(
        "first chunk while recording", times.difference("aquila", "no recorder") * 1e3, at_most=1, unit="ms more"
    )


# --- memory

LOAD = """
import json, sys
from pathlib import Path
from aquila.cassettes.codecs import codec_for
path = Path(sys.argv[1])
small = Path(sys.argv[2])
codec_for(small).loads(small.read_bytes(), source="")  # everything is imported
def highest():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
before = highest()
cassette = codec_for(path).loads(path.read_bytes(), source="")
print(json.dumps(highest() - before))
"""


def memory(report: Report, folder: Path) -> None:
    """Measure by how much the peak memory of a process grows while it loads a large cassette."""
    if not Path("/proc/self/status").exists():
        report.note("How much memory a load takes is measured on Linux only.")
        return
    small = write_all(folder, "made-10", traffic.cassette(10))
    rows = []
    ratios = {}
    for what, cassette in (
        ("made conversations", traffic.cassette(max(SIZES))),
        (
            "made streams of 200 chunks",
            Cassette.from_interactions([traffic.streamed(200, number) for number in range(max(SIZES) // 20)]),
        ),
    ):
        for suffix in ("aquila .yaml", "aquila .msgpack"):
            path = write_all(folder, "large", cassette)[suffix]
            grown = in_process(LOAD, str(path), str(small[suffix]))
            assert isinstance(grown, int)
            content = sum(len(one.request.body) + len(one.response.body) for one in cassette.interactions)
            # A stream takes ten times as much memory as its file, which has the common parts of all events only once.
            ratio = grown / max(content, path.stat().st_size)
            rows.append((f"{what}, {suffix}", size(path.stat().st_size), size(content), size(grown), f"{ratio:.2f} x"))
            ratios[f"memory of a load: {what}, {suffix}"] = ratio
    report.heading("Memory: how much a process grows while it loads, at its highest")
    report.rows(("", "file", "bodies in it", "grown by", "of the larger"), rows)
    for name, ratio in ratios.items():
        report.aim(name, ratio, at_most=3, unit="x the file, or the bodies in it if these are more")


def run(report: Report) -> None:
    """Measure every part."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["AQUILA_CASSETTE_DIR"] = name
        folder = Path(name)
        if not yaml.__with_libyaml__:
            report.note("PyYAML is without libyaml here: vcrpy is slower than it could be.")
        for part in (loading, deciding, saving, first_chunk, memory):
            part(report, folder)


if __name__ == "__main__":
    main(run)
