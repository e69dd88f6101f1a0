"""``use_cassette``: a cassette for a block or a function, outside pytest and inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from aquila.cassettes.storage.names import candidate_paths
from aquila.intercept import decorated_functions
from aquila.intercept.scope_block import ScopeBlock
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.scope import Scope, scope_around
from aquila.recording.scope_settings import check_scope_options
from aquila.recording.used_cassette import UsedCassette
from aquila.transports.transport_names import USUAL_TRANSPORTS, check_transports, check_transports_of

if TYPE_CHECKING:
    from aquila.faults import parsing as fault_parsing
    from aquila.setting_types import CassetteOptions
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila.faults: parsing as fault_parsing")

P = ParamSpec("P")
R = TypeVar("R")


class use_cassette(ScopeBlock[UsedCassette]):
    """Answer every model request in a block from a cassette, or record into it.

    As a context manager (``with`` or ``async with``) it gives a ``UsedCassette``; as a decorator it opens the cassette
    anew for each call of a function, sync or async. The body of a generator runs within the cassette from its first
    step until it ends or is closed. The code of its consumer, between the steps, runs outside.

    ``name`` is that of the cassette, ``settings`` are those of ``@pytest.mark.aquila`` (``transport="record"``,
    ``ignore=...``, ``replay_timing=...``). Outside pytest the transport is ``replay`` unless the settings, a block
    around this one or the environment say otherwise.

    A block that ends with an exception stores nothing in the cassette. Its recordings are kept in the pending file
    beside it. A skip of the test, a generator that is closed early, and ``sys.exit(0)`` are no failures. Raises
    ``CassetteNameError``, ``UnknownOption`` or ``ConfigError`` at once for wrong arguments, and ``UnknownTransport``
    when it begins.

    Examples:
        >>> with aquila.use_cassette("birds", transport="record") as cassette:
        ...     answer = aquila.ask("How do eagles fly so far?").text    # or any other client
        >>> @aquila.use_cassette("birds", transport="replay")
        ... def describe():
        ...     return aquila.ask("How do eagles fly so far?").text
        >>> describe() == answer
        True
    """

    def __init__(self, name: str, **settings: Unpack[CassetteOptions]) -> None:
        super().__init__()
        self._name = name
        known = runtime.current_settings().with_options(settings, source=self._title)
        self._settings = {option: getattr(known, option) for option in settings}
        candidate_paths(known.cassette_root(), name)  # a wrong name is refused here
        if known.faults is not None:
            fault_parsing.read_faults(known.faults)

    @property
    def _title(self) -> str:
        return f"use_cassette({self._name!r})"

    def _make_scope(self) -> tuple[Scope, UsedCassette]:
        options, run = self._settings, runtime.current_run()
        if "transport" not in options and not run.layers.gives("transport"):
            around = scope_around(run)  # the marker of a test gives the transport, as a block around this one may
            if around is None or not around.gives("transport"):
                options = {"transport": "replay", **options}
        settings = runtime.current_settings()
        check_scope_options(options, settings, source=self._title)
        self._check_transports(settings)
        scope = Scope(kind="block", name=self._title, default_cassette=self._name, options=options)
        return scope, UsedCassette(scope)

    def _check_transports(self, settings: Settings) -> None:
        """Raise ``UnknownTransport`` for a misspelt name.

        Checked when the block begins, because a plugin may register the name after the object was made.
        """
        given = {name: self._settings.get(name, getattr(settings, name)) for name in ("transport", "upstream")}
        if not USUAL_TRANSPORTS.issuperset(given.values()):
            check_transports_of(runtime.current_run().layers)
            check_transports(self._settings, source=self._title)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function. Raises ``UnsuitableFunction`` for anything else, such as a class."""
        cassette = decorated_functions.DecoratorCassette(
            self._title, lambda: type(self)(self._name, **self._settings), lambda: self._make_scope()[0]
        )
        decorated: Callable[P, R] = decorated_functions.decorate_function(function, cassette)
        return decorated
