"""Which Hueys are under test: those that the ini key ``aquila_huey`` names, or those that its fixture gives."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila import errors, setting_lines
from aquila.huey import huey_paths
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from pytest_aquila.options import read_key

if TYPE_CHECKING:
    from aquila.huey import instrumenting
else:
    lazy_modules(globals(), "aquila.huey: instrumenting")

WITH_QUEUE: pytest.StashKey[list[Any]] = pytest.StashKey()
"""The Hueys for which testing mode has opened a queue of the test that has this stash."""

_FORMS = (
    "return a Huey, its path (module:attribute), or a list of several, the first of which the fixtures use:\n"
    '    return app.huey\n    return "app:huey"\n    return [app.huey, mail.huey]'
)


def paths_of_hueys(config: pytest.Config) -> list[str]:
    """Return the paths that the ini key ``aquila_huey`` names, in their order."""
    return _split(read_key(config, "aquila_huey"))


def _split(paths: str) -> list[str]:
    return paths.replace(",", " ").split()


def load_huey(path: str, named_by: str = "the ini key aquila_huey is") -> Any:
    """Return the Huey at a path of ``aquila_huey``. Raises ``ConfigError`` if there is none.

    ``named_by`` is how the error begins, before the path.
    """
    __tracebackhide__ = True
    file = runtime.current_run().layers.settings_file
    if not path:
        raise errors.ConfigError(
            "no Huey is under test: name it (module:attribute), as "
            f"{setting_lines.placed_setting('huey', 'myapp.tasks:huey', file)}, "
            "or override the fixture aquila_huey"
        )
    python_path = '["."]' if setting_lines.is_toml(file) else "."
    where = (
        "name one that the tests can import, or put its folder on Python's path, as with "
        f"pythonpath = {python_path} in {setting_lines.place_of_settings(file)}"
    )
    return huey_paths.load_huey(path, named_by=named_by, where=where)


def find_loaded_huey(path: str) -> Any:
    """Return the Huey at a path if its module has already defined it, else None."""
    module, _, attribute = path.partition(":")
    found: Any = sys.modules.get(module)
    for name in attribute.split(".") if attribute else ():
        found = getattr(found, name, None)
    return found if found is not None and attribute and huey_paths.is_like_huey(found) else None


def hueys_of_fixture(given: Any, request: pytest.FixtureRequest) -> list[Any]:
    """Return the Hueys that the fixture ``aquila_huey`` has given a test, in their order.

    Raises ``ConfigError`` if it has given anything else than Hueys and paths of Hueys.
    """
    __tracebackhide__ = True
    hueys = [each for part in _parts_of(given) for each in _hueys_of(part, request)]
    if not hueys:
        raise errors.ConfigError(f"{_describe_fixture(request)} gives no Huey, but {given!r}: {_FORMS}")
    return hueys


def _parts_of(given: Any) -> Sequence[Any]:
    """Return the Hueys and paths in what the fixture has given, which may be one of them alone."""
    return given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]


def _hueys_of(part: Any, request: pytest.FixtureRequest) -> list[Any]:
    __tracebackhide__ = True
    if isinstance(part, str):
        named_by = f"{_describe_fixture(request)} gives"
        return [huey for path in _split(part) for huey in _hueys_of(load_huey(path, named_by), request)]
    try:
        instrumenting.reject_other_than_huey(part)
    except errors.ConfigError as error:
        what = "None" if part is None else f"a {type(part).__name__}"
        raise errors.ConfigError(f"{_describe_fixture(request)} gives {what}: {_FORMS}\n({error})") from None
    return [part]


def _describe_fixture(request: pytest.FixtureRequest) -> str:
    """Name the fixture ``aquila_huey`` that a test sees, by the place of its code."""
    found = request.session._fixturemanager.getfixturedefs("aquila_huey", request.node)
    code = getattr(found[-1].func, "__code__", None) if found else None
    return "the fixture aquila_huey" + (f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else "")


def path_of(huey: Any, config: pytest.Config, given: Any) -> str | None:
    """Return the path by which another program can load a Huey under test, or None if no path of it is known.

    ``given`` is what the fixture ``aquila_huey`` has given the test.
    """
    named = [path for part in _parts_of(given) if isinstance(part, str) for path in _split(part)]
    return next((path for path in [*named, *paths_of_hueys(config)] if find_loaded_huey(path) is huey), None)
