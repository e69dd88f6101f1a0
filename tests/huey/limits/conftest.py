"""The provider for tests of limits, and a storage that is interrupted between two changes."""

import pytest

from tests.huey.limits.providers import Provider


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def fail_at_the_second_update(monkeypatch):
    """Make the second change of a state raise KeyboardInterrupt. Returns the list of changed keys."""

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
