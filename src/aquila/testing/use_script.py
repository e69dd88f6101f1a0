"""``use_script``: a script for a block of code, in tests and outside."""

from __future__ import annotations

from pathlib import Path

from aquila.faults.parsing import read_faults
from aquila.intercept.scope_block import ScopeBlock
from aquila.recording.scope import Scope
from aquila.scripting.script import Script
from aquila.scripting.script_file import load_script


class use_script(ScopeBlock[Script]):
    """Answer every model request in a block from a new script: ``with use_script() as script``, also ``async with``.

    ``file`` has answers to begin with. ``faults`` is a text that names faults for the answers. A request without an
    answer raises ``UnscriptedRequest``; ``script.left`` has the answers that no request got. Raises ``ConfigError`` for
    a wrong file or wrong faults.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     _ = script.reply("Eagles soar.")
        ...     aquila.ask("How do eagles fly?").text
        'Eagles soar.'
        >>> script.requests[0].text, script.left
        ('How do eagles fly?', [])
    """

    def __init__(self, file: str | Path | None = None, *, faults: str | None = None) -> None:
        super().__init__()
        self._file = None if file is None else Path(file)
        self._faults = faults
        if faults is not None:
            read_faults(faults)

    def _make_scope(self) -> tuple[Scope, Script]:
        script = Script() if self._file is None else load_script(self._file)
        faults = {} if self._faults is None else {"faults": self._faults}
        scope = Scope(kind="block", name="use_script", options={"transport": "replay", **faults})
        scope.scripts.use(script)
        return scope, script
