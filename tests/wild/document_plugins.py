"""Write the table of plugins into docs/plugins.md, from what `make test-wild` saw.

    python -m tests.wild.document_plugins

What did not run here, or failed, is left out: run the groups `wild-plugins` and `wild-oldest` first.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from tests.wild.plugin_table import PLUGINS, Plugin

PAGE = Path("docs", "plugins.md")
BEGIN = "<!-- written by `python -m tests.wild.document_plugins` -->\n"
END = "<!-- end of what is written -->\n"
FOLDER = Path("build", "wild-plugins")
GROUPS = ("wild-plugins", "wild-oldest")


def forget(plugin: Plugin, group: str) -> None:
    """Forget what an earlier run noted."""
    _file_of(plugin, group).unlink(missing_ok=True)


def _file_of(plugin: Plugin, group: str) -> Path:
    return FOLDER / group / f"{PLUGINS.index(plugin)}.json"


def note_success(plugin: Plugin, group: str) -> None:
    """Note with which versions a plugin was seen to work in an environment."""
    file = _file_of(plugin, group)
    file.parent.mkdir(parents=True, exist_ok=True)
    around = f"pytest {version('pytest')}, Python {'.'.join(platform.python_version_tuple()[:2])}"
    seen = version(plugin.distribution) if plugin.distribution is not None else "yes"
    file.write_text(json.dumps({"seen": seen, "around": around}), "utf-8")


def table_of_plugins() -> str:
    """The table as Markdown."""
    seen: dict[str, dict[int, str]] = {group: {} for group in GROUPS}
    titles = dict.fromkeys(GROUPS, "not run")
    for group in GROUPS:
        for file in (FOLDER / group).glob("*.json"):
            row = json.loads(file.read_text("utf-8"))
            seen[group][int(file.stem)] = row["seen"]
            titles[group] = row["around"]
    rows: list[tuple[str, ...]] = [("plugin", *titles.values()), ("---", "---", "---")]
    rows += [
        (plugin.name, *(seen[group].get(number, "–") for group in GROUPS)) for number, plugin in enumerate(PLUGINS)
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table_of_plugins() + "\n" + END + rest.partition(END)[2], "utf-8")
