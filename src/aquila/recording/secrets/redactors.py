"""The redactors of a run: for the secrets of the machine, of the environment now, and what plugins add."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.redaction import fingerprints
from aquila.cassettes.redaction.environment_secrets import environment_secrets
from aquila.cassettes.redaction.redactor import Redactor
from aquila.plugins import ask_for_items, has_listeners
from aquila.recording import runtime
from aquila.recording.environment import DUMMY_KEY
from aquila.recording.known_environment import KnownEnvironment


class RedactorCache:
    """The two sets of secrets and the redactor that a run made last. Each is made again when its basis has changed.

    Making a redactor takes longer than a small replay, and almost all sessions of a run need the same one. Threads need
    no lock: each attribute is replaced as a whole, together with the basis from which it was made.
    """

    def __init__(self) -> None:
        # Until the run ends: each redactor learns the secrets that are set while it is in use.
        runtime.current_run().hold(runtime.set_variables().noting())
        # The environment, the machine's keys, and the secrets in them: the two made last, the newest first. A test
        # with parameters asks before its scope puts dummy keys into the environment, and again after that.
        self._secrets: tuple[tuple[KnownEnvironment, tuple[Mapping[str, str], ...], dict[str, str]], ...] = ()
        # How many variables shared fixtures had set, and the secrets among them.
        self._shared: tuple[int, dict[str, str]] = 0, {}
        # From which position in `set_variables` on, up to which, and the secrets among these variables.
        self._set_by_test: tuple[int, int, dict[str, str]] = 0, 0, {}
        # What decides about the redactor, and the redactor.
        self._redactor: tuple[tuple[object, ...], Redactor] | None = None

    def find_secrets(self) -> Mapping[str, str]:
        """Return the secrets, each with its kind: of the machine, of the running test so far, and of shared fixtures.

        Secrets that an earlier test has set do not count, so that a recording does not depend on other tests.
        """
        secrets, run, variables = self._find_machine_secrets(), runtime.current_run(), runtime.set_variables()
        if self._shared[0] != len(run.shared_variables):
            self._shared = len(run.shared_variables), _secrets_among(run.shared_variables)
        count = variables.count
        start = count if run.test is None else run.test.variables_before
        if start == count and not self._shared[1]:
            return secrets
        later = self._shared[1] | self._find_set_by_test(start, count)
        return secrets if later.keys() <= secrets.keys() else {**later, **secrets}

    def _find_set_by_test(self, start: int, count: int) -> dict[str, str]:
        """Return the secrets among the variables from position ``start`` to ``count``."""
        known_start, until, found = self._set_by_test
        if known_start != start:
            until, found = start, {}
        if until != count:  # a test may set thousands: only the new ones are searched
            found = found | _secrets_among(runtime.set_variables().since(until))
        self._set_by_test = start, count, found
        return found

    def _find_machine_secrets(self) -> dict[str, str]:
        """Return the secrets of the machine, each with its kind, also those that dummy keys hide in its environment.

        The dummy key is one of them: it stands where a recording has a real key.
        """
        keys = runtime.machine_keys()
        basis = keys.environment, keys.hidden
        known = self._secrets
        for environment, its_basis, secrets in known:
            if its_basis == basis and environment.is_current():
                return secrets
        here = KnownEnvironment()
        now = dict(os.environ)
        shown = (value for value in now.values() if value.endswith(DUMMY_KEY))  # some have a provider's prefix
        found = dict.fromkeys((DUMMY_KEY, *shown), "the dummy key")
        # Most dummy keys are secrets as a whole. Those with more beside the key are searched for secrets.
        others = {name: value for name, value in now.items() if value not in found or _has_parts(value)}
        before = {name: value for name, value in keys.environment.items() if others.get(name) != value}
        for variables in (others, keys.hidden, before):
            for value, kind in environment_secrets(variables).items():
                found.setdefault(value, kind)
        self._secrets = (here, basis, found), *known[:1]
        return found

    def redactor_for(self, rules: MatchRules, keep_headers: tuple[str, ...]) -> Redactor:
        """Return the redactor that keeps the header fields that ``rules`` compare and ``keep_headers`` name.

        It learns the secrets that are set from now on, also those that are unset again before it redacts.
        """
        # Before everything else, so that no variable that is set meanwhile is missed.
        position = runtime.set_variables().count
        secrets = self.find_secrets()
        extra: tuple[Any, ...] = ()
        if has_listeners("aquila_redactors"):
            extra = tuple(ask_for_items("aquila_redactors", callable, "a list of functions that redact a text"))
        known_fingerprints = tuple(runtime.machine_keys().fingerprints)
        if known_fingerprints:
            extra = (fingerprints.FingerprintRule(known_fingerprints), *extra)
        basis = (secrets, rules.header_names, keep_headers, extra)
        known = self._redactor
        if known is None or known[0] != basis or known[1].count_later():
            redactor = Redactor(
                secrets,
                extra,
                request_headers=(*rules.header_names, *keep_headers),
                response_headers=keep_headers,
                later=SecretsSetLater(position),
            )
            known = self._redactor = basis, redactor
        return known[1]


class SecretsSetLater:
    """The secrets among the variables that are set from a ``position`` on. See ``aquila.recording.environment``."""

    def __init__(self, position: int) -> None:
        self.variables = runtime.set_variables()
        self.position = position

    def find_since(self, position: int) -> Mapping[str, str]:
        """Return the secrets that were set from a position on, each with its kind."""
        rows = self.variables.since(position)
        # If a program has replaced `os.environ`, nothing is noted, so all its variables are searched.
        is_watched = os.environ is self.variables.environment
        return _secrets_among(rows if is_watched else (*rows, *os.environ.items()))


def _secrets_among(variables: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the secrets among variables, each with its kind. Dummy keys are left out."""
    found: dict[str, str] = {}
    for name, value in variables:
        if not value.endswith(DUMMY_KEY) or _has_parts(value):
            found.update(environment_secrets({name: value}))
    return found


def _has_parts(dummy: str) -> bool:
    """Whether a value that ends with the dummy key holds more than a name before it, such as a URL with a password."""
    return not re.fullmatch(r"[\w.-]+", dummy, re.ASCII)


def redactor_for(rules: MatchRules, keep_headers: tuple[str, ...] = ()) -> Redactor:
    """Return the redactor for the secrets of the machine and of the environment now, with the rules of plugins.

    It keeps the header fields that ``rules`` compare, besides the usual ones and ``keep_headers``.
    """
    return runtime.current_run().state_of(RedactorCache).redactor_for(rules, keep_headers)
