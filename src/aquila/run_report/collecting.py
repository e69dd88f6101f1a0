"""Turns what a scope has noted into exchanges of the running test, when the scope ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.large_bodies import with_stored_bodies
from aquila.cassettes.storage.names import cassette_path
from aquila.errors import AquilaError, BudgetSpent, CassetteMiss, LiveCallRefused, PlayedOut, UnansweredRequest
from aquila.recording.reporting.exchange_watch import WatchedExchange
from aquila.recording.reporting.reports import ScopeReport
from aquila.recording.scope import Scope
from aquila.recording.secrets import outgoing
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import PassOnDecision, RecordDecision, RefuseDecision, ReplayDecision
from aquila.recording.storing.interrupted_runs import was_cut
from aquila.run_report.bodies import Bodies
from aquila.run_report.costs import Costs
from aquila.run_report.drift import describe_drift
from aquila.run_report.exchanges import ExchangeReader
from aquila.run_report.redaction import ExchangeRedactor
from aquila.run_report.related_requests import count_attempts, pair_across
from aquila.run_report.schema import Exchange, Job, State
from aquila.run_report.stored_places import RecordingLines, StoredPlaces

SCRIPT = "script"
_Answered = Literal["replayed", "scripted", "live"]
_MOST_UNPLAYED = 20
_ASKED = re.compile(r"^(?:.*\b(?:requested|scripted for)\s+)?(?:([A-Z]+)|a message to) (\w+)://([^/\s]+)(\S*)", re.M)
"""The request that an error names: method, scheme, host and the rest. A message of a conversation has no method."""


@dataclass
class TestFacts:
    """What the running test has done. ``began``: when it began, in seconds of ``time.perf_counter``."""

    began: float
    exchanges: list[Exchange] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    cassettes: dict[str, None] = field(default_factory=dict)
    unplayed: list[str] = field(default_factory=list)
    pending: bool = False

    def states(self) -> list[State]:
        """Return the states of its requests, each once."""
        found: dict[State, None] = {state: None for each in self.exchanges for state in each["states"]}
        if self.pending:
            found["pending"] = None
        return list(found)


class ExchangeCollector:
    """Collects the exchanges of the running test. ``prefix`` makes ids unique over the processes of a run.

    The plugin owns it and calls it on the main thread, between tests. ``facts`` is replaced when a test begins;
    everything else lives as long as the run.
    """

    def __init__(self, root: Path, costs: Costs, prefix: str) -> None:
        self.bodies = Bodies()
        self.costs = costs
        self._reader = ExchangeReader(self.bodies, costs)
        self._lines = RecordingLines(root)
        self._prefix = prefix
        self._count = 0
        self._told: dict[int, UnansweredRequest] = {}
        """The misses that are in the report, by ``id()``; the values keep them alive.

        Enclosing scopes report them again.
        """
        self.facts = TestFacts(0.0)

    def begin_test(self, began: float) -> None:
        """Begin to collect for another test, which began at ``began`` seconds of ``time.perf_counter``."""
        self.facts = TestFacts(began)

    def end_test(self) -> TestFacts:
        """Return what the test has done, with its exchanges in the order of their requests."""
        facts = self.facts
        facts.exchanges.sort(key=lambda each: ("unplayed" in each["states"], each["timing"]["asked"]))
        for job in facts.jobs.values():  # one worker may report the second attempt before another reports the first
            job["attempts"].sort(key=lambda each: each["at"])
        count_attempts(facts.exchanges)
        pair_across(facts.exchanges)
        return facts

    def take_in(self, noted: Sequence[WatchedExchange], scope: Scope | None, report: ScopeReport | None) -> None:
        """Add what was ``noted`` in a scope that has ended, or outside of any."""
        places = StoredPlaces()
        for each in noted:
            try:
                exchange = self._read(each, places)
            except Exception as error:  # noqa: BLE001 - a report must not make a test fail
                address = told = ""
                with suppress(Exception):
                    redactor = ExchangeRedactor.of(each)
                    address, told = map(redactor.redact_text, (each.address, str(each.problem or "")))
                exchange = self._read_address(address, each.asked)
                exchange["error"] = f"the request cannot be shown: {type(error).__name__}"
                if each.problem is not None:
                    _add_problem(exchange, each.problem, told)
            if exchange is not None:
                if report is not None and report.pending and "recorded" in exchange["states"]:
                    exchange["states"].append("pending")
                self.facts.exchanges.append(exchange)
                if "number" in exchange:
                    self.facts.cassettes[exchange["cassette"]] = None
        self._told |= {id(problem): problem for each in noted for problem in (each.problem, *each.repeats) if problem}
        if scope is None or report is None:
            return
        for miss in scope.misses.hear():
            if id(miss) not in self._told and scope.kind != "call":
                self._take_miss_elsewhere(miss)
        self.facts.pending = self.facts.pending or bool(report.pending)
        # The cassette of a fixture belongs to the test in which the fixture was set up, not to the one in which it
        # ends.
        for folder, name in report.cassettes if scope.kind != "fixture" else ():
            self._note_cassette(Path(folder), name)
        self.facts.unplayed += [f"{what} of {cassette}" for cassette, what in report.unplayed]
        # What was not played is an extra of the report. An error there must not lose the rest of the scope.
        with suppress(Exception):
            self._take_unplayed(scope)

    def take_job(self, told: Mapping[str, Any]) -> None:
        """Add an execution of a job.

        ``told`` has the keys of ``Job`` and ``JobAttempt``, and ``began`` as for a test.
        """
        clean = outgoing.redact_outgoing
        name = str(told["id"])
        job = self.facts.jobs.get(name)
        if job is None:
            job = self.facts.jobs[name] = {"id": name, "name": clean(told["name"]), "attempts": []}
            if told.get("queue"):
                job["queue"] = clean(told["queue"])
            if told.get("arguments"):
                job["arguments"] = self.bodies.add_text(clean(told["arguments"]))
        attempt = {key: value for key, value in told.items() if key in ("number", "took", "outcome", "delay")}
        if any(each["number"] == attempt["number"] for each in job["attempts"]):
            attempt["number"] = len(job["attempts"]) + 1  # performed again, as a task of its own
        attempt["at"] = self._since(told["began"])
        if told.get("error"):
            attempt["error"] = clean(told["error"])[:2000]
        job["attempts"].append(cast(Any, attempt))

    # --- one exchange

    def _read(self, noted: WatchedExchange, places: StoredPlaces) -> Exchange | None:
        if isinstance(noted.decision, PassOnDecision):
            return None  # a filter keeps the request out of cassettes, and so out of the report
        redactor = ExchangeRedactor.of(noted)
        if noted.interaction is not None and noted.place is not None:
            exchange = self._read_recording(noted, redactor.clean_recording(noted.interaction))
            exchange["source"], exchange["states"], exchange["number"] = "replayed", ["replayed"], noted.place[1] + 1
            self._locate_in(exchange, noted.place[0])
        elif noted.interaction is not None and noted.scope is not None:
            exchange = self._read_recording(noted, redactor.clean_recording(noted.interaction))
            exchange["cassette"], exchange["source"], exchange["states"] = noted.cassette, "replayed", ["replayed"]
            self._place(exchange, noted.scope, noted.cassette, noted.interaction, places)
        elif noted.problem is not None:
            exchange = self._read_problem(noted, redactor)
        elif isinstance(noted.decision, ReplayDecision):
            exchange = self._read_replay(noted, noted.decision, redactor, places)
        elif isinstance(noted.decision, RecordDecision):
            exchange = self._read_recorded(noted, noted.decision, redactor, places)
        else:
            exchange = self._read_live(noted, redactor)
        if noted.ended is not None:
            exchange["timing"]["took"] = max(0, round((noted.ended - noted.asked) * 1000))
        if noted.job:
            exchange["job"] = noted.job
        if noted.left_out and exchange["kind"] == "websocket":
            exchange["frames_left_out"] = exchange.get("frames_left_out", 0) + noted.left_out
        elif noted.left_out:
            exchange["answer_left_out"] = exchange.get("answer_left_out", 0) + noted.left_out
        return exchange

    def _read_replay(
        self, noted: WatchedExchange, decision: ReplayDecision, redactor: ExchangeRedactor, places: StoredPlaces
    ) -> Exchange:
        played = decision.interaction
        request = redactor.clean_request(noted) or redactor.redact_request(played.request)
        if noted.response is not None:  # of a WebSocket: the messages that were exchanged
            answer = redactor.redact_response(noted.response)
        elif noted.session is None:  # of a script
            answer = redactor.redact_response(played.response)
        else:
            answer = redactor.clean_response(played)
        shown = Interaction(request, answer, played.recorded, played.upstream, played.model)
        exchange = self._read_recording(noted, shown)
        if noted.session is not None:
            source: _Answered = "replayed"
            self._place(exchange, noted.scope, noted.session.name, played, places, noted.session)
        else:
            source = "scripted" if played.upstream == SCRIPT else "live"
            if noted.scope is not None and source == "scripted":
                name = noted.scope.default_cassette
                exchange["script"] = name if name in noted.scope.scripts.from_files else "aquila_script"
        exchange["source"], exchange["states"] = source, [source]
        if decision.fault:
            exchange["states"], exchange["faults"] = ["faulted"], [decision.fault]
        return exchange

    def _read_recorded(
        self, noted: WatchedExchange, decision: RecordDecision, redactor: ExchangeRedactor, places: StoredPlaces
    ) -> Exchange:
        rows = noted.session.new_recordings if noted.session is not None else ()
        row = next((each for each in rows if each.order == decision.order), None)
        if row is None:
            asked = redactor.redact_request(decision.request)
            exchange = self._reader.read(asked, None, self._next_id(), asked=self._since(noted.asked))
            exchange["states"] = ["recorded"] if not noted.error else []
            exchange["error"] = redactor.redact_text(noted.error) or "nothing of the answer was stored"
            return exchange
        path = self._path_of(noted.scope, noted.session.name) if noted.scope and noted.session else None
        interaction = row.interaction if path is None else with_stored_bodies(row.interaction, path)
        exchange = self._read_recording(noted, redactor.clean_recording(interaction))
        has_failed = noted.scope is not None and noted.scope.has_failed and row.is_closed_by_failure
        if has_failed or (noted.is_cut and was_cut(row)):
            exchange["source"], exchange["states"] = "live", ["live"]
            what = "failed" if has_failed else "was interrupted"
            exchange["error"] = f"the test {what} before the answer was read, so the answer was not stored"
            return exchange
        exchange["source"], exchange["states"] = "recorded", ["recorded"]
        if noted.session is not None:
            self._place(exchange, noted.scope, noted.session.name, row.interaction, places)
        return exchange

    def _read_live(self, noted: WatchedExchange, redactor: ExchangeRedactor) -> Exchange:
        request = redactor.clean_request(noted)
        if request is None:
            exchange = self._read_address(redactor.redact_text(noted.address), noted.asked)
        else:
            response = None if noted.response is None else redactor.redact_response(noted.response)
            exchange = self._reader.read(request, response, self._next_id(), asked=self._since(noted.asked))
        source: _Answered = "scripted" if noted.source == SCRIPT else "live"
        if noted.source:
            exchange["source"], exchange["states"] = source, [source]
        if noted.error and "error" not in exchange:
            exchange["error"] = redactor.redact_text(noted.error)
        return exchange

    def _read_problem(self, noted: WatchedExchange, redactor: ExchangeRedactor) -> Exchange:
        problem = noted.problem
        request = redactor.clean_request(noted)
        if request is None:
            exchange = self._read_address(redactor.redact_text(noted.address or str(problem)), noted.asked)
        elif isinstance(noted.decision, ReplayDecision):  # a conversation that missed in its middle
            exchange = self._read_replay(noted, noted.decision, redactor, StoredPlaces())
        else:
            exchange = self._reader.read(request, None, self._next_id(), asked=self._since(noted.asked))
        _add_problem(exchange, problem, redactor.redact_text(str(problem)))
        if noted.session is None or request is None:
            return exchange
        exchange["cassette"] = self._name_session(noted.scope, noted.session.name)
        if isinstance(noted.decision, RefuseDecision) and not isinstance(problem, PlayedOut | BudgetSpent):
            drift = describe_drift(request, noted.session, self.bodies)
            if drift is not None:
                drift["cassette"] = exchange["cassette"]
                exchange["drift"] = drift
        return exchange

    def _take_miss_elsewhere(self, miss: CassetteMiss) -> None:
        """Add a miss from another process, or one within a conversation."""
        told = outgoing.redact_outgoing(str(miss))
        address = _ASKED.search(told)
        is_conversation = address is not None and address[2].startswith("ws")
        for exchange in self.facts.exchanges if is_conversation else ():
            known = exchange["kind"] == "websocket" and "missed" not in exchange["states"]
            if address is not None and known and address[3] == exchange["host"]:
                _add_problem(exchange, miss, told)
                return
        exchange = self._read_address(told, self.facts.began)
        _add_problem(exchange, miss, told)
        self.facts.exchanges.append(exchange)

    def _take_unplayed(self, scope: Scope) -> None:
        if not scope.owns_cassette or scope.default_cassette is None:
            return
        for session in scope.sessions.opened_for(scope.default_cassette):
            unplayed = session.plays.unplayed if session.mode == "replay" else ()
            for number, interaction in unplayed[:_MOST_UNPLAYED]:
                try:
                    clean = ExchangeRedactor((session.redactor, outgoing.run_redactor())).clean_recording(interaction)
                    exchange = self._reader.read_interaction(clean, self._next_id())
                except (AquilaError, OSError) as error:
                    address = outgoing.redact_outgoing(f"{interaction.request.method} {interaction.request.url}")
                    exchange = self._read_address(address, 0.0)
                    exchange["error"] = f"this recording could not be read: {type(error).__name__}"
                exchange["states"], exchange["number"] = ["unplayed"], number
                self._locate(exchange, scope, session.name)
                self.facts.exchanges.append(exchange)

    # --- the place of a recording

    def _read_recording(self, noted: WatchedExchange, shown: Interaction) -> Exchange:
        return self._reader.read_interaction(shown, self._next_id(), asked=self._since(noted.asked))

    def _read_address(self, text: str, asked: float) -> Exchange:
        found = _ASKED.search(text)
        method, scheme, host, path = found.groups("GET") if found is not None else ("", "", "", "")
        return {
            "id": self._next_id(),
            "kind": "websocket" if scheme in ("ws", "wss") else "http",
            "states": [],
            "source": "none",
            "method": method,
            "host": host,
            "path": path,
            "messages": [],
            "timing": {"asked": self._since(asked)},
            "request_headers": [],
        }

    def _place(
        self,
        exchange: Exchange,
        scope: Scope | None,
        cassette: str,
        interaction: Interaction,
        places: StoredPlaces,
        session: Session | None = None,
    ) -> None:
        """Add the place of a recording.

        A replaying session holds the same object; otherwise an equal one is searched.
        """
        if scope is None:
            return
        if session is not None and session.mode == "replay":
            number = places.find_held(session, interaction)
        else:
            number = places.find_stored(self._path_of(scope, cassette), interaction)
        if number is not None:
            exchange["number"] = number
        self._locate(exchange, scope, cassette)

    def _locate(self, exchange: Exchange, scope: Scope, cassette: str) -> None:
        path = self._path_of(scope, cassette)
        exchange["cassette"] = cassette
        if path is not None:
            self._locate_in(exchange, path)

    def _locate_in(self, exchange: Exchange, path: Path) -> None:
        exchange["cassette"] = self._lines.name_file(path)
        line = self._lines.find_line(path, exchange["number"]) if "number" in exchange else None
        if line is not None:
            exchange["line"] = line

    def _path_of(self, scope: Scope, cassette: str) -> Path | None:
        try:
            return cassette_path(scope.settings.cassette_root(), cassette)
        except AquilaError:  # the name is not that of a file in the cassette folder
            return None

    def _name_session(self, scope: Scope | None, cassette: str) -> str:
        path = self._path_of(scope, cassette) if scope is not None else None
        return cassette if path is None else self._lines.name_file(path)

    def _note_cassette(self, folder: Path, name: str) -> None:
        """Note a cassette that was used. Most fixtures have a cassette without a file, which is not noted."""
        with suppress(AquilaError, OSError):
            path = cassette_path(folder, name)
            if path.exists():
                self.facts.cassettes[self._lines.name_file(path)] = None

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"

    def _since(self, moment: float) -> int:
        return max(0, round((moment - self.facts.began) * 1000))


def _add_problem(exchange: Exchange, problem: UnansweredRequest | None, told: str) -> None:
    refused = isinstance(problem, LiveCallRefused | BudgetSpent)
    exchange["states"].append("refused" if refused else "missed")
    exchange["problem"] = told
