"""Let git merge cassettes request by request, in this clone.

The command writes into git's configuration of this clone how cassettes are merged and shown. It writes into the file
.gitattributes of each cassette folder which files are cassettes. Commit these files, and run the command once in each
clone.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from aquila.cassettes.storage.recorded_uses import USES_FILE
from aquila.cli import project
from aquila.cli.comparing.git_versions import refuse_unusable, run_git
from aquila.cli.output import Output

_ATTRIBUTES = {
    **dict.fromkeys(("*.yaml", "*.yml"), "merge=aquila"),
    "*.msgpack": "merge=aquila diff=aquila",
    USES_FILE: "merge=union",
}

# If the command cannot start, because its environment was removed, this merges line by line. Otherwise git would report
# a conflict, and leave the file of one branch without a mark.
_DRIVER = (
    "{command} merge %O %A %B %P || {{ code=$?; {command} merge --help >/dev/null 2>&1 && exit $code; "
    "git merge-file -L ours -L base -L theirs %A %O %B || exit 1; }}"
)

# Git stops at a file that this cannot show, also one of an old commit in the midst of `git log -p`.
_TEXTCONV = 'show() {{ {command} show --yaml "$1" || echo "unreadable, $(git hash-object --no-filters "$1")"; }}; show'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Write the configuration and the attributes. Existing lines stay."""
    with project.open_project(options) as here:
        here.list_cassettes()  # raises if there is no cassette folder
        # The full path of Python, because git may run where this environment is not active.
        command = f"{shlex.quote(Path(sys.executable).as_posix())} -m aquila cassettes"
        done: list[dict[str, Any]] = []
        for folder in filter(Path.is_dir, here.folders):
            refuse_unusable(folder)
            for name, value in (
                ("merge.aquila.name", "Aquila cassettes, request by request"),
                ("merge.aquila.driver", _DRIVER.format(command=command)),
                ("diff.aquila.textconv", _TEXTCONV.format(command=command)),
            ):
                run_git(folder, "config", "--local", name, value)
            attributes = folder / ".gitattributes"
            done.append({"attributes": str(attributes), "added": _add_attributes(attributes)})
            output.print_line(f"git merges the cassettes in {folder} request by request in this clone now.")
    files = " and ".join(one["attributes"] for one in done)
    output.print_line(f"Commit {files}, and run this command once in each other clone.")
    output.print_json(done)
    return 0


def _add_attributes(file: Path) -> list[str]:
    """Add the missing lines to a file of git attributes, and return them."""
    before = file.read_bytes() if file.exists() else b""
    lines = before.decode("utf-8", "replace").splitlines()
    missing = [f"{files} {what}" for files, what in _ATTRIBUTES.items() if f"{files} {what}" not in lines]
    if missing:
        with file.open("ab") as attributes:
            attributes.write(b"" if not before or before.endswith(b"\n") else b"\n")
            attributes.write("".join(f"{line}\n" for line in missing).encode())
    return missing
