"""Run the benchmarks, each in a process of its own: `python -m benchmarks [NAME ...] [--quick] [--write FILE]`."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.harness import environment

HERE = Path(__file__).parent
NO_BENCHMARKS = {"__init__", "__main__", "harness"}
PEERS = ("openai", "httpx2", "vcrpy", "pytest-recording", "cassetter", "pytest", "huey")


def names() -> list[str]:
    """Return the names of the benchmarks: the modules of this folder that define ``run``."""
    modules = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NO_BENCHMARKS)
    return [name for name in modules if "\ndef run(" in (HERE / f"{name}.py").read_text()]


def main() -> int:
    """Run the benchmarks of the command line. Returns 1 if one failed, or with ``--strict`` missed an aim, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(names())} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few rounds only: to see that they work")
    parser.add_argument("--strict", action="store_true", help="end with 1 when an aim is missed")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write everything to a file")
    options = parser.parse_args()
    unknown = set(options.names) - set(names())
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; known are {', '.join(names())}")
    changes = {"AQUILA_BENCH_QUICK": "1"} if options.quick else {}
    if options.strict:
        changes["AQUILA_BENCH_STRICT"] = "1"
    written = [_about()]
    print(written[0], flush=True)
    signal.signal(signal.SIGTERM, _end_by_signal)
    failed = False
    for name in options.names or names():
        written.append(f"\n# {name}\n")
        print(written[-1], flush=True)
        with subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}"],
            cwd=HERE.parent,
            env=environment(**changes),
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    written.append(line)
            except BaseException:
                process.kill()  # It would disturb the next measurement.
                raise
        if process.returncode:
            failed = True
            written.append(f"\n{name} {_ending(process.returncode)}\n")
            print(written[-1], flush=True)
    if options.write:
        options.write.write_text("".join(written))
    return int(failed)


def _end_by_signal(number: int, frame: object) -> None:
    """Exit with a message, because output that a time limit has cut off looks complete."""
    sys.exit(f"\nended by {signal.Signals(number).name} before everything was measured")


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}: its output is incomplete"
    return f"ended with exit status {code}"


def _about() -> str:
    versions = [f"{peer} {metadata.version(peer)}" for peer in PEERS if _installed(peer)]
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores; {', '.join(versions)}"
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
