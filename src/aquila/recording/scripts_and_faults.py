"""What answers in place of the recordings of a scope: scripts, and faults made from good answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila.cassettes.storage import names
from aquila.lazy_imports import lazy_modules
from aquila.recording.reporting.child_misses import ChildMisses
from aquila.settings import parse_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aquila.cassettes.model import Interaction, RecordedResponse
    from aquila.config import OptionLayer
    from aquila.faults import plan as fault_plan
    from aquila.faults.fault import Within
    from aquila.faults.plan import FaultPlan, MetFault
    from aquila.recording import scripts
    from aquila.recording.runtime import Run
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.scope_sessions import ScopeSessions
    from aquila.scripting.script import Script
    from aquila.scripting.shared_script import AnswersRequests
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila.faults: plan as fault_plan", "aquila.recording: scripts")


class ScriptsAndFaults:
    """The part of a scope that is about scripts and faults. Both count in the scopes within it, too."""

    if TYPE_CHECKING:
        own_settings: OptionLayer
        _process: int | None
        id: str
        parent: Scope | None
        sessions: ScopeSessions
        run: Run

        @property
        def is_owner(self) -> bool: ...

        @property
        def settings(self) -> Settings: ...

        def override_settings(self, options: Mapping[str, Any], *, source: str) -> None: ...

        def enclosing(self) -> Sequence[Scope]: ...

        def _announce_change(self) -> None: ...

    def __init__(self) -> None:
        # All of these belong to the scope, and go with it.
        self._script: AnswersRequests | None = None
        self.has_script = False
        """Whether answers to its requests were written by hand, here or in a scope around it."""
        self.lent_script: Script | None = None
        """A script that answers child processes only: those that start before their test gets it, and writes it."""
        self.file_scripts: dict[str, Script] = {}
        """The scripts in files that were used, by the names of their cassettes."""
        self._named_scripts: dict[str, bool] = {}
        """Whether a cassette is a script, by its name. The disk is asked once for each name."""
        self.script_token: str | None = None
        """The token with which the scripts of a joined scope are asked, in the process that owns the scope."""
        self.good_answers: dict[str, RecordedResponse] = {}
        """By the key of a request, the good answer from which its faults are made, if none is recorded or scripted."""
        self.may_meet_faults = False
        """Whether faults were ever set, here or in a scope around it. ``faults`` are those in force now."""
        self._faults: FaultPlan | None = None
        self._faults_from = ""
        """The setting from which ``_faults`` was parsed. The plan counts, so it stays as long as the setting does."""

    @property
    def script(self) -> AnswersRequests | None:
        """The script that answers its requests: its own, or that of a scope around it."""
        for each in self.enclosing():
            if each._script is not None:
                return each._script if each.is_owner or each._process is None else scripts.script_of_parent(each)
        return None

    def names_script(self, cassette: str | None, settings: Settings | None = None) -> bool:
        """Whether a cassette of this scope is a script in a file. The first question about a name asks the disk.

        ``settings`` are those in force here, if the caller has them. Raises ``CassetteNameError``.
        """
        if cassette is None:
            return False
        known = self._named_scripts.get(cassette)
        if known is None:
            root = (self.settings if settings is None else settings).cassette_root()
            known = self._named_scripts[cassette] = names.names_script(root, cassette)
        return known

    def knows_script(self, cassette: str) -> bool:
        """Whether ``names_script`` answers without asking the disk."""
        return cassette in self._named_scripts

    @property
    def scripted_count(self) -> int:
        """How many requests its own script has answered in this process."""
        if self._script is None and not self.file_scripts:
            return 0
        return sum(getattr(script, "given", 0) for script in (self._script, *self.file_scripts.values()))

    def use_script(self, script: AnswersRequests) -> None:
        """Let a script answer requests for models, before any cassette does."""
        self._script, self.has_script = script, True
        for scope in self.run.scopes.unclosed():
            scope.note_script_of(self)
        self._announce_change()

    def lend_script(self, script: Script | None) -> None:
        """Let a script answer the child processes of the scope, which is not open yet."""
        self.lent_script = script

    def use_lent_script(self) -> None:
        """Let the lent script answer in this process, too: a child process that was just forked."""
        if self.lent_script is not None and not self.has_script:
            self._script, self.has_script = self.lent_script, True

    def note_script_of(self, scope: ScriptsAndFaults) -> None:
        """Note that ``scope`` has got a script. It answers here, too, if that scope is around this one."""
        self.has_script = self.has_script or scope in self.enclosing()

    def use_joined_script(self, script: AnswersRequests, token: str) -> None:
        """Let a script of another process answer, which is asked with ``token``."""
        self.script_token = token
        self.use_script(script)

    def use_faults(self, plan: FaultPlan | None) -> FaultPlan | None:
        """Put the faults of ``plan`` in force (None for none). Return the plan of this scope that they replace."""
        before = self._own_faults()
        self._faults = plan
        self.override_settings({"faults": None if plan is None else plan.text}, source="faults")
        return before

    @property
    def faults(self) -> FaultPlan | None:
        """The faults that answers meet, here or in a scope around it."""
        # A loop, because every request asks, and `enclosing` takes several times as long.
        scope: ScriptsAndFaults | None = self
        while scope is not None:
            if "faults" in scope.own_settings.options and (plan := scope._own_faults()) is not None:
                return plan
            scope = scope.parent
        return None

    def note_faults(self, options: Mapping[str, Any]) -> None:
        """Note whether ``options`` set faults. They hold in the scopes within it, too."""
        if options.get("faults") is not None:
            for scope in self.run.scopes.unclosed():
                scope.note_faults_of(self)

    def note_faults_of(self, scope: ScriptsAndFaults) -> None:
        """Note that ``scope`` has got faults. They hold here, too, if that scope is around this one."""
        self.may_meet_faults = self.may_meet_faults or scope in self.enclosing()

    def _own_faults(self) -> FaultPlan | None:
        given = self.own_settings.options.get("faults")
        if given is None:
            return None
        text = parse_option("faults", given, source="faults")
        if self._faults is None or text not in (self._faults.text, self._faults_from):
            self._faults, self._faults_from = fault_plan.FaultPlan.from_text(text, self.id), text
        return self._faults

    def meet_fault(self, key: str, good: Interaction, within: Within | None = None) -> MetFault | None:
        """Return the fault that a request meets, or None. ``key`` is that of the request, ``good`` its good answer.

        ``within`` is as in ``FaultPlan.meet``.
        """
        plan = self.faults
        if plan is None:
            return None
        if self.sessions.counts is not None:
            plan.share(self.sessions.counts)
        met = plan.meet(key, good, within)
        if met is not None and not self.is_owner:
            self.run.state_of(ChildMisses).tell_met(plan.mark, met.number)
        return met

    def collect_met_faults(self, plan: FaultPlan) -> None:
        """Tell a plan which of its faults requests of other processes have met."""
        if self.sessions.counts is not None:
            plan.share(self.sessions.counts)
        for number in self.run.state_of(ChildMisses).take_met(plan.mark):
            plan.note_met(number)
