"""Advice about a client that cannot be made, or cannot ask, because this machine has no key or credentials for it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aquila.errors import CassetteMiss, LiveCallRefused, MissingKey
from aquila.intercept import dummy_keys
from aquila.intercept.provider_keys import NO_UNSET, dummies_for_run
from aquila.plurals import join_with_and
from aquila.recording import runtime
from aquila.recording.environment import DUMMY_KEY
from aquila.setting_lines import place_of_settings, setting_line
from pytest_aquila.outcomes import text_of

if TYPE_CHECKING:
    import pytest

    from aquila.setting_types import StartSettings

_KEY_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:API_?KEY|KEY|KEY_ID|TOKEN|SECRET|CREDENTIALS?)\b")


_SPEAKS_OF_KEY = re.compile(r"key|token|credential", re.IGNORECASE)

_GOOGLE_FILE = "GOOGLE_APPLICATION_CREDENTIALS"  # names a file, so no dummy would do
_NO_TOKEN = "failed to retrieve a token from the included credentials"  # of the chains of credentials of Azure


def advise_on_missing_key(failure: BaseException, of_run: StartSettings, of_test: StartSettings) -> str | None:
    """Return advice on a failure whose message names an unset variable that holds a key; None if there is none to give.

    ``of_run`` are the settings of the run, and ``of_test`` those of the test that failed: the same if it has none.
    """
    names = dict.fromkeys(_KEY_VARIABLE.findall(text_of(failure)))
    missing = [name for name in names if name not in os.environ and name != _GOOGLE_FILE]
    if not dummy_keys.needs_no_key(of_run):
        known = [name for name in missing if name in dummies_for_run(())]
        return None if isinstance(failure, MissingKey) else _advise_to_set_key(known)
    with_dummy = [name for name in missing if name in dummy_keys.dummies_of_run(of_run)]
    if not missing:
        return None
    if not dummy_keys.needs_no_key(of_test):
        return _advise_on_own_key(with_dummy) if with_dummy else None
    if with_dummy:  # the test has taken the dummy away, and no setting brings it back
        return None
    return (
        f"The error names {join_with_and(missing)}. In this run no request needs a key, so Aquila gives a dummy "
        "to the variables of the providers that it knows (aquila/intercept/provider_keys.py). To give "
        f"it to {'this one' if len(missing) == 1 else 'these'} too, add to {_setting(' '.join(missing))}"
    )


def advise_on_cloud_credentials(failure: BaseException, of_test: StartSettings) -> str | None:
    """Return advice on a client of a cloud that has found no credentials; None for other failures.

    Its requests for a token are recorded, but it makes none without credentials, which the machine that recorded had.
    ``of_test`` are the settings of the test that failed, or of the run if it has none.
    """
    kind, text = type(failure).__name__, text_of(failure)
    if not dummy_keys.needs_no_key(of_test):
        return None
    if (kind == "DefaultCredentialsError" or _GOOGLE_FILE in text) and _GOOGLE_FILE not in os.environ:
        return (
            "A replay needs credentials of Google Cloud too, to request the recorded token with. They may be without a "
            'secret: write such a file as docs/any-client.md shows in "Credentials of clouds", and add to '
            f"{_setting(f'{_GOOGLE_FILE}=tests/no-account.json')}"
        )
    of_azure = kind == "CredentialUnavailableError" or _NO_TOKEN in text
    if of_azure and "AZURE_CLIENT_SECRET" not in os.environ:
        return (
            "A replay needs credentials of Azure too, to request the recorded token with. They may be without a "
            "secret, but with the ids of the recording: add to "
            f"{_setting('AZURE_TENANT_ID=... AZURE_CLIENT_ID=... AZURE_CLIENT_SECRET')}. If the cassette has no "
            'request for a token, a command such as az has given it: docs/any-client.md shows in "Credentials of '
            'clouds" what helps then'
        )
    return None


def advise_on_dummy(message: str, of_run: StartSettings) -> str | None:
    """Return advice on a failure whose message shows a dummy that the run gave to a variable; None for others."""
    if DUMMY_KEY not in message or NO_UNSET in of_run.dummy_keys or not dummy_keys.needs_no_key(of_run):
        return None
    return (
        f"{DUMMY_KEY} is a dummy, which the variables of providers hold where no request needs a key. To leave those "
        f"unset that the machine does not set, add to {_setting(NO_UNSET)}"
    )


def advise_on_condition(failure: BaseException, item: pytest.Item, of_run: StartSettings) -> str | None:
    """Return advice on an unanswered request of a test that a condition may skip; None for other failures and tests.

    Such a condition is often whether a key is set. It was decided when the module was imported, so it cannot be read.
    A test that only lacks its recording is advised where the reason of the condition speaks of a key.
    """
    reasons = [str(marker.kwargs.get("reason", "")) for marker in item.iter_markers("skipif")]
    may_be_meant = isinstance(failure, CassetteMiss) and any(map(_SPEAKS_OF_KEY.search, reasons))
    if not (may_be_meant or (reasons and isinstance(failure, LiveCallRefused))):
        return None
    if NO_UNSET in of_run.dummy_keys or not dummy_keys.dummies_of_run(of_run):
        return None
    return (
        "A condition may skip this test. If it asks whether a key is set, it finds a dummy, because no request of this "
        "run needs a key. Give the test a cassette; or, so that it is skipped on a machine without the key, add to "
        f"{_setting(NO_UNSET)} (-NAME for a variable NAME that conftest.py sets to a value of its own)"
    )


def _setting(value: str) -> str:
    """Return the file and the line that set ``dummy_keys`` to a value, for the end of a sentence."""
    file = runtime.current_run().layers.settings_file
    return f"{place_of_settings(file)}: {setting_line('dummy_keys', value, file)}"


def _advise_to_set_key(names: Sequence[str]) -> str | None:
    if not names:
        return None
    several = len(names) > 1
    return (
        f"The error names {join_with_and(names)}, which {'are' if several else 'is'} not set. This run asks the "
        f"provider, so it needs {'those that the error asks for' if several else 'the key'}: "
        f"export {' '.join(f'{name}=...' for name in names)} and run it again. A replay needs none."
    )


def _advise_on_own_key(names: Sequence[str]) -> str:
    # Code that reads a file such as .env while conftest.py is imported finds the dummy of the run, and keeps it by
    # default.
    return (
        f"The error names {join_with_and(names)}. This test may reach the provider, so it gets no dummy, and the "
        "environment in which pytest was started has no key either: set it there. A file such as .env that is loaded "
        "before the test finds a dummy in its place. Load it in a fixture of the test, or so that it overrides "
        "what is set: load_dotenv(override=True), or env_override_existing_values = 1 for pytest-dotenv."
    )
