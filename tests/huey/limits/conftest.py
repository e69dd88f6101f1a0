"""The provider of the tests of limits, and a state that fails in the midst of changes."""

import pytest

from tests.huey.limits.providers import Provider


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def fail_at_the_second_update(monkeypatch):
    """Let the second change of a state raise KeyboardInterrupt; return the list of the keys that are changed."""

    def patch(state):
        update, keys = state.update, []

        def fail_at_the_second(*args, **options):
            keys.append(args[1])
            if len(keys) == 2:
                raise KeyboardInterrupt
            return update(*args, **options)

        monkeypatch.setattr(state, "update", fail_at_the_second)
        return keys

    return patch
