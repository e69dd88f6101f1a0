"""A script: decides which written answer a request gets."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, get_args

from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.errors import ConfigError
from aquila.fork_locks import renewed_in_child
from aquila.scripting.conditions import Conditions, Wanted
from aquila.scripting.replies import Replies, describe_answer
from aquila.spelling import suggest_name
from aquila.wire_forms.answer import Answer
from aquila.wire_forms.form import WireForm
from aquila.wire_forms.sent import SentRequest
from aquila.wire_forms.table import find_wire_form, read_request

Unused = Literal["fail", "warn", "ignore"]
"""What happens to a test whose script has answers left that no request got."""

Gives = Literal["nothing", "answer", "all"]
"""What a program gets in spite of a fault: no answer, another one that it may continue with, or all of the good one."""


class ScriptedAnswer(NamedTuple):
    """The answer to a request. ``last``: no other answer to the same request follows it."""

    response: RecordedResponse
    last: bool


class Rule(Replies):
    """The answers to requests that meet its conditions. They are given in order, and the last one repeats.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     rule = script.when("weather", model="gpt-*").reply("Rain.").reply("Sun.")
        ...     [aquila.ask("The weather?", model="gpt-4.1-mini").text for day in range(3)]
        ['Rain.', 'Sun.', 'Sun.']
        >>> rule.given
        3
    """

    def __init__(self, conditions: Conditions) -> None:
        super().__init__()
        self.conditions = conditions
        self.answers: list[Answer] = []
        self.given = 0
        """How many answers were given. The script counts it, under its lock."""

    def _add(self, answer: Answer) -> None:
        self.answers.append(answer)

    def next_for(self, form: WireForm) -> tuple[Answer, bool] | None:
        """Return the next answer, and whether it is the last; None if there is none or it does not fit ``form``."""
        self._finish_reasoning()
        if not self.answers:
            return None
        at = min(self.given, len(self.answers) - 1)
        return (self.answers[at], at == len(self.answers) - 1) if fits_form(self.answers[at], form) else None

    @property
    def left(self) -> list[Answer]:
        """The answers that no request has got yet."""
        self._finish_reasoning()
        return self.answers[self.given :]


class _Next(NamedTuple):
    """The answer that a request gets next, whether it is the last one, and its rule; no rule for one in the queue."""

    answer: Answer
    last: bool
    rule: Rule | None


class Script(Replies):
    """Answers written by hand, for any client, in the wire form of its provider.

    Answers are given in the order in which they were written, each once, to requests that they fit. Answers after
    ``when`` take precedence. Any thread may call the methods: ``_lock`` guards all state, which lives as long as the
    script.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     _ = script.reply("Eagles soar.").error(429)
        ...     aquila.ask("How do eagles fly?").text
        'Eagles soar.'
        >>> [request.text for request in script.requests], len(script.left)
        (['How do eagles fly?'], 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self._unused: Unused | None = None
        self._queue: deque[Answer] = deque()
        self._rules: list[Rule] = []
        self._requests: list[SentRequest] = []
        self._number = 0  # of the latest answer that a program has got, also under a fault
        # By URL and body of a request: its last answer, if that was an error. A client that retries gets it again.
        self._failures: dict[tuple[str, bytes], Answer] = {}
        # The answers that the provider would store, with their requests, by number. A client may retrieve them.
        self._kept: dict[int, tuple[Answer, SentRequest]] = {}
        # The answers that a fault has replaced, by ``id()``. The values keep them alive, so that no id is used twice.
        self._asked_for: dict[int, Answer] = {}
        # By URL and body of a request: its answer, if a program may take the fault in its place for an answer. The
        # answer is kept for the same request, if it comes again. Other requests get the answers after it.
        self._promised: dict[tuple[str, bytes], Answer] = {}
        self._lock = renewed_in_child(threading.RLock())
        self.given = 0
        """How many requests were answered with the whole answer."""

    @property
    def unused(self) -> Unused | None:
        """What happens to a test with answers left: ``fail``, ``warn`` or ``ignore``; None for the setting.

        Setting it to something else raises ``ConfigError``.
        """
        return self._unused

    @unused.setter
    def unused(self, value: Unused | None) -> None:
        if value is not None and value not in get_args(Unused):
            raise ConfigError(f"unused = {value!r} of a script{suggest_name(str(value), get_args(Unused))}")
        self._unused = value

    @property
    def deciding(self) -> AbstractContextManager[object]:
        """Is held by a thread that looks at an answer and then says what becomes of it."""
        return self._lock

    def _add(self, answer: Answer) -> None:
        with self._lock:
            self._queue.append(answer)

    def when(
        self,
        text: Wanted | None = None,
        *,
        last: Wanted | None = None,
        system: Wanted | None = None,
        model: str | None = None,
        tool: str | None = None,
        where: Callable[[SentRequest], object] | None = None,
    ) -> Rule:
        """Answer requests by their content, any number of times: ``when("summarise", model="gpt-*").reply("Short.")``.

        ``text`` must occur in any message, ``last`` in the last one, ``system`` in the instructions; each is a text,
        compared without case, or a compiled pattern. ``model``, and ``tool``, a tool that is offered, may contain
        ``*``. ``where`` is a function of the request. All that are given must hold. Of several rules that hold, the
        first answers. Raises ``ConfigError``.
        """
        rule = Rule(Conditions(text, last, system, model, tool, where))
        with self._lock:
            self._rules.append(rule)
        return rule

    @property
    def requests(self) -> Sequence[SentRequest]:
        """The requests so far, in the order in which they arrived, including those without an answer."""
        return tuple(self._requests)

    @property
    def left(self) -> Sequence[str]:
        """The answers that no request has got yet, as the calls that wrote them."""
        with self._lock:
            self._finish_reasoning()
            rows = [("", answer) for answer in self._queue]
            rows += [(f"{rule.conditions}.", answer) for rule in self._rules for answer in rule.left]
            return [f"{when}{describe_answer(answer)}" for when, answer in rows if id(answer) not in self._asked_for]

    def decide(self, request: RecordedRequest, *, fault: str = "") -> ScriptedAnswer | None:
        """Return the answer to a request and count it; None if there is none.

        ``fault`` names the fault that only delivers it in other chunks, if one does. Raises errors of functions in
        ``when``.
        """
        form, sent = read_request(request)
        with self._lock:
            self._requests.append(sent)
            if form is not None and form.kind == "stored":
                again = self._answer_again(form, sent)
                self.given += again is not None
                return None if again is None else ScriptedAnswer(again, False)
            chosen = self._choose(form, sent) if form is not None else None
            if chosen is None or form is None:
                return None
            answer, last = chosen
            self.given += 1
            number = self._number_answer(form, sent, answer, last=last)
        return ScriptedAnswer(form.answer(answer, sent, number), last)

    def _number_answer(self, form: WireForm, sent: SentRequest, answer: Answer, *, last: bool) -> int:
        """Return the number of an answer, by which its ids differ from others, and keep it as the provider would."""
        self._number += 1
        if answer.error is not None and last:
            self._failures[sent.http.url, sent.http.body] = answer
        else:
            self._failures.pop((sent.http.url, sent.http.body), None)
        if answer.error is None and form.keeps_answer(sent):
            self._kept[self._number] = answer, sent
        return self._number

    def peek(self, request: RecordedRequest) -> RecordedResponse | None:
        """Return the answer that a request would get, without counting it; None if there is none."""
        form, sent = read_request(request)
        if form is None:
            return None
        with self._lock:
            if form.kind == "stored":
                return self._answer_again(form, sent)
            found = self._find_next(form, sent)
        return None if found is None else form.answer(found.answer, sent, self._number + 1)

    def may_answer(self, request: RecordedRequest) -> bool:
        """Whether some answer fits the form of a request, whatever its content."""
        form = find_wire_form(request)
        if form is None:
            return False
        with self._lock:
            self._finish_reasoning()
            return any(fits_form(answer, form) for answer in self._queue) or any(
                rule.next_for(form) is not None for rule in self._rules
            )

    def _answer_again(self, form: WireForm, sent: SentRequest) -> RecordedResponse | None:
        number = form.number_of_kept(sent)
        if number is None or number not in self._kept:
            return None
        answer, first = self._kept[number]
        return form.answer_again(answer, first, sent, number)

    def note_fault(
        self, request: RecordedRequest, *, gives: Gives, met: Interaction | None = None, fault: str = ""
    ) -> None:
        """Note a request that met a fault. Its answer counts as asked for, and can still be given.

        If the program may take the response in its place for an answer, and continue, it is kept for this request, and
        other requests get the answers after it.
        """
        form, sent = read_request(request)
        asked = request.url, request.body
        with self._lock:
            self._requests.append(sent)
            found = self._find_next(form, sent) if form is not None else None
            if form is None or found is None:
                return
            self._asked_for[id(found.answer)] = found.answer
            if gives == "nothing":
                return
            self._number_answer(form, sent, found.answer, last=False)
            if asked not in self._promised:
                self._take_next(found)
            self._promised[asked] = found.answer

    def _find_next(self, form: WireForm, sent: SentRequest) -> _Next | None:
        self._finish_reasoning()
        if (promised := self._promised.get((sent.http.url, sent.http.body))) is not None:
            return _Next(promised, False, None)
        for rule in self._rules:
            if rule.conditions.find_difference(sent) is None and (found := rule.next_for(form)) is not None:
                return _Next(*found, rule)
        # Two are enough to know whether the first is the last.
        fitting = [*itertools.islice((answer for answer in self._queue if fits_form(answer, form)), 2)]
        return _Next(fitting[0], len(fitting) == 1, None) if fitting else None

    def _choose(self, form: WireForm, sent: SentRequest) -> tuple[Answer, bool] | None:
        found = self._find_next(form, sent)
        if found is None:
            failed = self._failures.get((sent.http.url, sent.http.body))
            return (failed, True) if failed is not None else None
        if self._promised.pop((sent.http.url, sent.http.body), None) is None:
            self._take_next(found)
        return found.answer, found.last

    def _take_next(self, found: _Next) -> None:
        if found.rule is not None:
            found.rule.given += 1
        else:
            self._queue.remove(found.answer)

    def explain(self, request: RecordedRequest) -> str:
        """Return a message that describes a request without an answer, and the answers that are left."""
        form, sent = read_request(request)
        lines = [f"  request    {sent.url if sent.url.startswith('ws') else f'{sent.method} {sent.url}'}"]
        if form is None:
            lines.append("  form       none that a script can answer")
        else:
            lines.append(f"  form       {form.name}{', streamed' if sent.is_streamed else ''}")
        if sent.model:
            lines.append(f"  model      {sent.model}")
        for at, message in enumerate(sent.messages[-6:]):
            called = "".join(f" calls {call.name}({call.arguments})" for call in message.tool_calls)
            head = "  messages   " if at == 0 else " " * 13
            lines.append(f"{head}{message.role:<10} {_one_line(message.text + called)}")
        lines += ["", *self._explain_left(form, sent), *_advise(form)]
        return "\n".join(lines)

    def _explain_left(self, form: WireForm | None, sent: SentRequest) -> list[str]:
        with self._lock:
            lines = []
            for answer in list(self._queue)[:10]:
                why = "" if form is None or fits_form(answer, form) else f": {_explain_unfit(answer, form)}"
                lines.append(f"  left       {describe_answer(answer)}{why}")
            for rule in self._rules[:20]:
                other = "its next answer is for another kind of request" if rule.answers else "no answer follows it"
                why = rule.conditions.find_difference(sent) or other
                lines.append(f"  left       {rule.conditions}: {why}")
        return lines or [
            "  left       nothing: the script has no answers any more" if self._number else "  left       nothing"
        ]


_ASKED = {
    "message": "a message",
    "embeddings": "embeddings",
    "models": "a list of models",
    "token_count": "a count of tokens",
    "stored": "an answer that was given before",
}

_ADVICE = {
    "message": ('reply("...")', "reply: ..."),
    "embeddings": ("embed([0.1, 0.2])", "embed: [[0.1, 0.2]]"),
    "models": ('models("...")', "models: [...]"),
    "token_count": ("token_count(12)", "token_count: 12"),
}
"""What to write for each kind of request: in a test, and in a file."""


def fits_form(answer: Answer, form: WireForm) -> bool:
    """Whether an answer fits a wire form. An answer without a kind, such as an error, fits messages and embeddings."""
    if answer.kind is None:
        return form.kind in ("message", "embeddings")
    return answer.kind == form.kind and (form.has_tools or not answer.calls)


def _advise(form: WireForm | None) -> list[str]:
    """Return the lines that say what to type, for a request of ``form``."""
    if form is None:
        return ["", "To record it, give the test the fixture aquila_cassette beside aquila_script."]
    if form.kind not in _ADVICE:
        return []
    call, row = _ADVICE[form.kind]
    return ["", f"To answer it, add aquila_script.{call} to the test, or `- {row}` to the script's file."]


def _explain_unfit(answer: Answer, form: WireForm) -> str:
    if answer.kind == form.kind:
        return f"{form.name} have no calls of tools"
    return f"does not answer a request for {_ASKED[form.kind]}"


def _one_line(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= 90 else f"{joined[:89]}…"
