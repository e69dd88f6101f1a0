"""Names of tests, their cassettes and fixtures that do not depend on the folder or arguments with which pytest runs.

pytest's own ids are relative to the root folder. The ids of files outside it are relative to the arguments, or empty,
so two such files may have the same id. The id of the whole run is empty.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern
from aquila.recording.secrets import outgoing
from pytest_aquila import test_scopes
from pytest_aquila.run_life import root_of

if TYPE_CHECKING:
    from aquila import shell_words
    from aquila.cassettes.storage import names
else:
    lazy_modules(globals(), "aquila: shell_words", "aquila.cassettes.storage: names")


def id_of(node: Any) -> str:
    """Return the id of a test, class, module or folder, with a path relative to the root folder; "" for the run."""
    root = root_of(node.config)
    path = _path_of_outsider(node.path, root)
    given = str(node.nodeid)
    if "@" in given:
        given = _without_group(node, given)
    if path is None and root == node.config.rootpath:
        return given
    if path is None:
        path = "/".join(node.path.relative_to(root).parts)  # empty for the root folder itself
    _, colons, inside = given.partition("::")
    return path if isinstance(node, pytest.Directory) else path + colons + inside


def _without_group(node: Any, given: str) -> str:
    """Return an id without the group that pytest-xdist adds to it for ``--dist=loadgroup``: no test is run by it."""
    if not isinstance(node, pytest.Item) or node.parent is None or node.get_closest_marker("xdist_group") is None:
        return given
    plain = f"{node.parent.nodeid}::{node.name}"
    return plain if given.startswith(f"{plain}@") else given


def id_to_type(item: pytest.Item) -> str:
    """Return the id of a test as users type it in the folder where pytest was started, perhaps not the root folder."""
    if test_scopes.TYPED_ID in item.stash:
        return item.stash[test_scopes.TYPED_ID]
    return note_id_to_type(item, id_of(item))


def note_id_to_type(item: pytest.Item, test: str) -> str:
    """Compute and remember what ``id_to_type`` returns for an item, whose id is ``test``."""
    here, root = item.config.invocation_params.dir, root_of(item.config)
    file, colons, inside = test.partition("::")
    file = file if here == root else shell_words.path_from(here, root / file)
    item.stash[test_scopes.TYPED_ID] = typed = file + colons + inside
    return typed


_folded_names: pytest.StashKey[Counter[str]] = pytest.StashKey()
"""For a module or class: how many of its names are equal when case is ignored. Computed once for each node."""


def has_twin(test: pytest.Item | pytest.Collector) -> bool:
    """Whether the name of a test, or of a class around it, differs from another name only in case.

    Both would have the same cassette file on a file system that ignores case. Only names with capitals are changed, or
    with letters such as ``ß``, for which a file system may take ``ss``.
    """
    for node in test.iter_parents():
        name = node.name.partition("[")[0]
        parent = node.parent
        if isinstance(node, pytest.File) or parent is None:
            return False
        if name == name.casefold():
            continue
        if _folded_names not in parent.stash:
            parent.stash[_folded_names] = Counter(map(str.casefold, dir(getattr(parent, "obj", None))))
        if parent.stash[_folded_names][name.casefold()] > 1:
            return True
    return False


_SETUP_FUNCTION = lazy_pattern(r"_(?:unittest|xunit)_(\w+?)_fixture_")
"""The fixtures that pytest makes of functions, such as ``_unittest_setUpClass_fixture_TestChat``.

They count by the name of the function alone: with that of its class or module they would lose their cassette when that
is renamed."""


def fixture_cassette(fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, item: pytest.Item) -> str:
    """Return the name of a fixture's own cassette. ``item`` is the test that sets the fixture up."""
    function = _SETUP_FUNCTION.match(fixture.argname)
    name = function[1] if function else fixture.argname
    return names.name_of_fixture(
        name + _parameter_suffix(request),
        defined=_definition_of(fixture, item),
        within=id_of(request.node) if fixture.scope in ("module", "class") else None,
        has_twin=(not function and name != name.casefold()) or (fixture.scope == "class" and has_twin(request.node)),
    )


def _definition_of(fixture: pytest.FixtureDef[Any], item: pytest.Item) -> str:
    """Return the id of the module, class or ``conftest.py`` that defines a fixture; for a plugin it is ``@module``.

    The same function may be a fixture in several places (imported, or inherited), so the place where pytest found it is
    used. If that place has an empty id, the function shows whether it is from a plugin, a ``conftest.py`` or a module
    outside the root folder.
    """
    known = getattr(fixture, "node", None)  # since pytest 9.1
    for node in item.iter_parents():
        if node is known or (node.nodeid == fixture.baseid != ""):
            if isinstance(node, pytest.Session):
                break
            found = id_of(node)
            return f"{found}/conftest.py" if isinstance(node, pytest.Directory) else found
    function = _function_of(fixture.func)
    file = Path()
    with contextlib.suppress(TypeError, OSError):  # the function is not written in Python
        file = Path(inspect.getfile(function))
    if file.name == "conftest.py":
        root = root_of(item.config)
        return _path_of_outsider(file, root) or file.relative_to(root).as_posix()
    if function.__module__ == getattr(getattr(item, "module", None), "__name__", None):
        return id_of(item).partition("::")[0]
    return f"@{function.__module__}"


def _function_of(function: Any) -> Any:
    """Return the function inside partials, methods and wrappers."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function if hasattr(function, "__module__") else type(function)


def _parameter_suffix(request: pytest.FixtureRequest) -> str:
    """Return a fixture's parameter in brackets: its value if that is a text or a number, else its position."""
    if not hasattr(request, "param"):
        return ""
    value = request.param
    if isinstance(value, str) and outgoing.redact_label(value) != value:
        return f"[#{getattr(request, 'param_index', 0)}]"
    if isinstance(value, str) and value[:1].isalpha() and value not in ("None", "True", "False", "inf", "nan"):
        return f"[{value}]"
    if isinstance(value, (str, int, float, type(None))):
        return f"[{value!r}]"  # in quotes, so that a text is not a number
    return f"[#{getattr(request, 'param_index', 0)}]"


@functools.lru_cache(maxsize=1024)  # each test asks several times for the path of its module
def _path_of_outsider(path: Path, root: Path) -> str | None:
    """Return the path of a file outside the root folder, relative to that folder; None for a file inside.

    If only one of the two paths goes through a link, a file inside has its path relative to the root folder, too.
    """
    if path.is_relative_to(root):
        return None
    real, real_root = path.resolve(), root.resolve()
    if real.is_relative_to(real_root):
        return real.relative_to(real_root).as_posix() if real != real_root else ""
    return shell_words.path_from(root, path)


def own_cassette_name(item: pytest.Item, test: str) -> str:
    """Return the name of a test's own cassette. A secret parameter is named by its position, because keys change."""
    is_ambiguous = has_twin(item)
    if "[" not in test:
        return names.name_of_test(test, has_twin=is_ambiguous)
    clean = outgoing.redact_label(test)
    if clean != test:
        places = getattr(getattr(item, "callspec", None), "indices", {}).values()
        clean += "#" + "-".join(map(str, places))
    return names.name_of_test(clean, has_twin=is_ambiguous)
