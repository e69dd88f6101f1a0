"""The faults of a scope, which answers meet on their way. They count in the scopes within it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.recording.scope_parts.scope_part import ScopePart
from aquila.settings import parse_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aquila.cassettes.model import Interaction, RecordedResponse
    from aquila.faults import plan as fault_plan
    from aquila.faults.fault import Within
    from aquila.faults.plan import FaultPlan, MetFault
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), "aquila.faults: plan as fault_plan")


class ScopeFaults(ScopePart):
    """The faults of ``scope``, as its setting ``faults`` or a block of its test names them."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._own: FaultPlan | None = None
        self._own_text = ""
        """The setting from which ``_own`` was parsed. The plan counts, so it stays as long as the setting does."""
        self.good_answers: dict[str, RecordedResponse] = {}
        """By the key of a request, the good answer from which its faults are made, if none is recorded or scripted."""
        self.may_be_met = self._own_plan(scope) is not None  # a wrong fault is refused here, not by the first request
        """Whether faults were ever set, here or in a scope around it. ``plan`` has those in force now."""

    @property
    def plan(self) -> FaultPlan | None:
        """The faults that answers meet: those of the innermost scope that sets any, or None, from this one outward."""
        here = self._scope
        for scope in (here, *here.around):
            if "faults" in scope.own_settings.options:
                return scope.faults._own_plan(scope)
        return None

    def use(self, plan: FaultPlan | None) -> FaultPlan | None:
        """Put the faults of ``plan`` in force, or with None those around this scope. Return the plan that was."""
        scope = self._scope
        before = self._own_plan(scope)
        self._own, self._own_text = plan, ""
        if plan is None:
            scope.own_settings.remove("faults")
        scope.override_settings({} if plan is None else {"faults": plan.text}, source="faults")
        return before

    def note_options(self, options: Mapping[str, Any]) -> None:
        """Note whether ``options`` set faults. They hold in the scopes within it, too."""
        if options.get("faults") is not None:
            scope = self._scope
            for each in scope.run.scopes.unclosed():
                each.faults.note_faults_of(scope)

    def note_faults_of(self, scope: Scope) -> None:
        """Note that ``scope`` has got faults. They hold here, too, if that scope is around this one."""
        self.may_be_met = self.may_be_met or scope in (self._scope, *self._scope.around)

    def nest_within(self, parent: ScopeFaults) -> None:
        """Let the faults of the scope around this one hold here, too."""
        self.may_be_met = self.may_be_met or parent.may_be_met

    def meet(self, key: str, good: Interaction, within: Within | None = None) -> MetFault | None:
        """Return the fault that a request meets, or None. ``key`` is that of the request, ``good`` its good answer.

        ``within`` is as in ``FaultPlan.meet``.
        """
        plan = self.plan
        if plan is None:
            return None
        scope = self._scope
        if scope.sessions.counts is not None:
            plan.share(scope.sessions.counts)
        met = plan.meet(key, good, within)
        if met is not None and not scope.is_owner:
            scope.child_messages.tell_met(plan.mark, met.number)
        return met

    def collect_met(self, plan: FaultPlan) -> None:
        """Tell a plan which of its faults requests of other processes have met."""
        scope = self._scope
        if scope.sessions.counts is not None:
            plan.share(scope.sessions.counts)
        for number in scope.child_messages.take_met(plan.mark):
            plan.note_met(number)

    def _own_plan(self, scope: Scope) -> FaultPlan | None:
        given = scope.own_settings.options.get("faults")
        if given is None:
            return None
        text = parse_option("faults", given, source="faults")
        if self._own is None or text not in (self._own.text, self._own_text):
            self._own, self._own_text = fault_plan.FaultPlan.from_text(text, scope.id), text
        return self._own
