"""``use_cassette``: a cassette for a block or a function, outside pytest and inside."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from aquila.cassettes.storage.names import candidate_paths
from aquila.intercept import activation, decorated_functions
from aquila.recording import runtime
from aquila.recording import scope as scopes
from aquila.recording.scope import Scope
from aquila.recording.used_cassette import UsedCassette

if TYPE_CHECKING:
    from aquila.config_types import CassetteOptions

P = ParamSpec("P")
R = TypeVar("R")


class use_cassette:
    """Answer every model request in a block from a cassette, or record into it.

    As a context manager (``with`` or ``async with``) it gives a ``UsedCassette``; as a decorator it opens the cassette
    anew for each call of a function, sync or async. The body of a generator runs within the cassette from its first
    step until it ends or is closed; what its consumer does between the steps is outside.

    ``name`` is the cassette's, ``settings`` are those of ``@pytest.mark.aquila`` (``transport="record"``,
    ``ignore=...``, ``replay_timing=...``). Outside pytest the transport is ``replay`` unless the settings or the
    environment say otherwise.

    A block that ends with an exception stores nothing: what it recorded is kept in the pending file beside. Raises
    ``CassetteNameError``, ``UnknownOption`` or ``ConfigError`` at once for what is wrong with its arguments.
    """

    def __init__(self, name: str, **settings: Unpack[CassetteOptions]) -> None:
        self._name = name
        self._settings = settings
        self._open: list[tuple[Scope, Scope | None]] = []
        known = runtime.current_settings().with_options(settings, source=self._title)
        candidate_paths(known.cassette_root(), name)  # a wrong name is refused here

    @property
    def _title(self) -> str:
        return f"use_cassette({self._name!r})"

    def _scope(self) -> Scope:
        options = self._settings
        if "transport" not in options and not runtime.current_run().layers.gives("transport"):
            options = {"transport": "replay", **options}
        return Scope(kind="block", name=self._title, default_cassette=self._name, options=options)

    def __enter__(self) -> UsedCassette:
        scope = self._scope()
        activation.watch_scopes()
        scopes.open_scope(scope)
        self._open.append((scope, scopes.bind_scope(scope)))
        return UsedCassette(scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope, before = self._open.pop()
        scopes.bind_scope(before)
        scopes.remove_scope(scope)
        decorated_functions.close(scope, error)

    async def __aenter__(self) -> UsedCassette:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function. Raises ``UnsuitableFunction`` for what is not one, such as a class."""
        cassette = decorated_functions.DecoratorCassette(
            self._title, lambda: type(self)(self._name, **self._settings), self._scope
        )
        decorated: Callable[P, R] = decorated_functions.decorate(function, cassette)
        return decorated
