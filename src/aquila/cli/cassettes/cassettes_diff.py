"""Compare two cassettes, recording by recording, with the words of prompts and answers that differ.

A and B are names of cassettes, files, or two folders of cassettes. If A is a revision of git (HEAD~3, main), the
cassettes that B names, or all cassettes, are compared with their versions in that revision. A range of git
(main...HEAD) shows what a branch has changed, and --staged what is staged. The project's settings (match_on, ignore)
decide which requests are the same. Recordings that differ only in times, ids, token counts or header fields are
counted, and are no difference. The exit code is 0 if nothing differs, and 1 if something does.

--markdown writes the same for a pull request; the exit code is then 0 unless --exit-code is given.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cli import FAILED, FOUND, arguments, project
from aquila.cli.comparing import cassette_changes
from aquila.cli.comparing.compared_files import choose_pairs
from aquila.cli.output import Output, writing_file
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of

if TYPE_CHECKING:
    from aquila.cli.comparing import diff_markdown
else:
    lazy_modules(globals(), "aquila.cli.comparing: diff_markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    a = parser.add_argument(
        "a", metavar="A", nargs="?", help="a cassette, a file, a folder, a revision or range of git"
    )
    b = parser.add_argument("b", metavar="B", nargs="?", help="what A is compared with (default: all, for git)")
    for side in (a, b):
        arguments.complete_with(side, arguments.complete_cassettes)
    parser.add_argument("--staged", action="store_true", help="compare what is staged with the last commit")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write Markdown, for a pull request (default: to stdout)",
    )
    parser.add_argument("--exit-code", action="store_true", help="with --markdown: end with 1 if something differs")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Compare the cassettes and print how they differ."""
    a, b, markdown = options.a, options.b, options.markdown
    if options.staged and b is not None:
        raise ConfigError("--staged compares with the last commit; name at most one cassette")
    if a is None and not options.staged and markdown not in (None, "-"):  # --markdown main...HEAD
        a, markdown = markdown, "-"
    if a is None and not options.staged:
        raise ConfigError("what shall be compared? Give two cassettes, a range of git such as main...HEAD, or --staged")
    with project.open_project(options) as here, contextlib.ExitStack() as stack:
        pairs, title = choose_pairs(here, a, b, stack, staged=options.staged)
        found = cassette_changes.compare_pairs(pairs)
        if markdown is None:
            cassette_changes.print_changes(found, title, output)
        else:
            text = diff_markdown.write_markdown(found, title)
            if markdown == "-" and not output.as_json:
                sys.stdout.write(text)
            elif markdown != "-":
                with writing_file(markdown):
                    # A lone surrogate, as in a file name or in the text of a model, cannot be encoded, hence `errors`.
                    Path(markdown).write_text(text, encoding="utf-8", errors="replace")
                output.print_line(f"{markdown}: {count_of(len(found), 'cassette')}")
        output.print_json(cassette_changes.as_json(found))
    if any(each.problem for each in found):
        return FAILED
    return FOUND if any(each.differing for each in found) and (markdown is None or options.exit_code) else 0
