"""The scripts of a scope: answers written by hand, in a test or in a file, which come before those of its cassette.

A script counts in the scopes within its scope, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.cassettes.storage import names
from aquila.lazy_imports import lazy_modules
from aquila.recording.scope_parts.scope_part import ScopePart

if TYPE_CHECKING:
    from aquila.recording import scripts
    from aquila.recording.scope import Scope
    from aquila.scripting.script import Script
    from aquila.scripting.shared_script import AnswersRequests
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila.recording: scripts")


class ScopeScripts(ScopePart):
    """The scripts of ``scope``, of this process and of the one that owns the scope."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._own: AnswersRequests | None = None
        self.is_written = False
        """Whether a test or a block has written a script, here or in a scope around it."""
        self.lent: Script | None = None
        """A script that answers child processes only: those that start before their test gets it, and writes it."""
        self.from_files: dict[str, Script] = {}
        """The scripts in files that were used, by the names of their cassettes."""
        self._named: dict[str, bool] = {}
        """Whether a cassette is a script, by its name. The disk is asked once for each name."""
        self.token: str | None = None
        """The token with which the scripts of a joined scope are asked, in the process that owns the scope."""

    @property
    def written(self) -> AnswersRequests | None:
        """The script that a test or a block has written: for this scope, or for one around it."""
        here = self._scope
        for scope in (here, *here.around):
            own = scope.scripts._own
            if own is not None:
                return own if scope.is_owner or scope.is_joined else scripts.script_of_parent(scope)
        return None

    @property
    def answered_count(self) -> int:
        """How many requests the scripts of this scope alone have answered in this process."""
        if self._own is None and not self.from_files:
            return 0
        return sum(getattr(script, "given", 0) for script in (self._own, *self.from_files.values()))

    def use(self, script: AnswersRequests) -> None:
        """Let a script answer requests for models, before any cassette does."""
        self._own, self.is_written = script, True
        for each in self._scope.run.scopes.unclosed():
            each.scripts.note_script_of(self._scope)
        self._scope.announce_change()

    def use_joined(self, script: AnswersRequests, token: str) -> None:
        """Let a script of another process answer, which is asked with ``token``."""
        self.token = token
        self.use(script)

    def note_script_of(self, scope: Scope) -> None:
        """Note that ``scope`` has got a script. It answers here, too, if that scope is around this one."""
        self.is_written = self.is_written or scope in (self._scope, *self._scope.around)

    def nest_within(self, parent: ScopeScripts) -> None:
        """Let the script of the scope around this one answer here, too."""
        self.is_written = self.is_written or parent.is_written

    # Lent to child processes, before the test writes it.

    def lend(self, script: Script | None) -> None:
        """Let a script answer the child processes of the scope, which is not open yet."""
        self.lent = script

    def use_lent(self) -> None:
        """Let the lent script answer in this process, too: a child process that was just forked."""
        if self.lent is not None and not self.is_written:
            self._own, self.is_written = self.lent, True

    # In files.

    def names_script(self, cassette: str | None, settings: Settings | None = None) -> bool:
        """Whether a cassette of this scope is a script in a file. The first question about a name asks the disk.

        ``settings`` are those in force here, if the caller has them. Raises ``CassetteNameError``.
        """
        if cassette is None:
            return False
        known = self._named.get(cassette)
        if known is None:
            root = (self._scope.settings if settings is None else settings).cassette_root()
            known = self._named[cassette] = names.names_script(root, cassette)
        return known

    def may_answer(self, cassette: str | None, settings: Settings | None = None) -> bool:
        """Whether a script answers requests that use a cassette: one that is written, or the cassette is one.

        Takes and raises what ``names_script`` does.
        """
        return self.is_written or self.names_script(cassette, settings)

    def knows_name(self, cassette: str) -> bool:
        """Whether ``names_script`` answers without asking the disk."""
        return cassette in self._named
