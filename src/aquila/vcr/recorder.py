"""vcrpy's recorder, with cassettes that Aquila records and replays."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, overload

import vcr
from vcr.record_mode import RecordMode

from aquila.vcr.blocks import CassetteBlock
from aquila.vcr.ignored_options import note_meaningless, note_reading_only, note_serializer
from aquila.vcr.option_translation import CassettePlan, VcrOptions, make_plan, takes_only_headers_that_are_never_stored
from aquila.vcr.other_files import find_files

Function = TypeVar("Function", bound=Callable[..., Any])

_KNOWN = {
    *inspect.signature(vcr.VCR.__init__).parameters,
    *("path", "persister", "allow_playback_repeats", "additional_matchers", "with_current_defaults", "allowed_hosts"),
} - {"self"}
"""The options of vcrpy and pytest-recording. Any other option is noted as unknown."""


class _DefaultMode(str):
    """vcrpy's default record mode, told apart by its type from one that the program chose."""

    __slots__ = ()


class VCR(vcr.VCR):  # type: ignore[misc]
    """vcrpy's recorder, with the same options, attributes and methods, on Aquila's cassettes.

    The options are those of ``vcr.VCR``. Options without an effect are named once, at the end of a test run. Raises
    ``TypeError`` for an option that vcrpy does not have, and ``ValueError`` for an unknown record mode.

    Examples:
        >>> from aquila import vcr
        >>> recorder = vcr.VCR(cassette_library_dir="cassettes", record_mode="once", filter_headers=["x-team"])
        >>> with recorder.use_cassette("birds.yaml") as cassette:
        ...     aquila.ask("How do eagles fly so far?").text
        'Eagles circle in rising warm air.'
        >>> cassette.record_mode is vcr.mode.ONCE
        True
    """

    is_live = False
    """Whether the requests of all its blocks are sent, and nothing is recorded or replayed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "record_mode" not in options and len(args) < _PLACE_OF_MODE:
            self.record_mode = _DefaultMode(RecordMode.ONCE.value)
        note_meaningless(options, _KNOWN)

    @overload
    def use_cassette(self, path: str | os.PathLike[str] | None = None, **options: Any) -> CassetteBlock: ...
    @overload
    def use_cassette(self, path: Function, **options: Any) -> Function: ...
    def use_cassette(self, path: Any = None, **options: Any) -> Any:
        """Record or replay in a block, or for each call of a function.

        ``path`` is the file of the cassette. A decorator without a path names the file after the function. ``options``
        are those of ``VCR``, and ``allow_playback_repeats``, ``additional_matchers``, ``persister``,
        ``with_current_defaults``. Returns a ``CassetteBlock``. As a decorator without parentheses, it returns the
        decorated function.
        """
        if path is not None and not isinstance(path, (str, os.PathLike)):
            return self.use_cassette(**options)(path)
        if path is not None:
            options["path"] = path
        make_plan_for = functools.partial(self.plan_cassette, options=options)
        if options.pop("with_current_defaults", False):
            frozen = self._copy()
            make_plan_for = functools.partial(frozen.plan_cassette, options=options)
        injects = options.get("inject_cassette", self.inject_cassette)
        return CassetteBlock(make_plan_for, injects=bool(injects))

    def register_serializer(self, name: str, serializer: Any) -> None:
        """Register a serializer under a name. It reads files that Aquila cannot read; nothing is written with it."""
        note_reading_only("register_serializer")
        super().register_serializer(name, serializer)

    def register_persister(self, persister: Any) -> None:
        """Register a persister. It loads cassettes that Aquila cannot read; nothing is saved with it."""
        note_reading_only("register_persister")
        super().register_persister(persister)

    def plan_cassette(
        self,
        function: Callable[..., Any] | None = None,
        *,
        options: Mapping[str, Any],
        extra: Sequence[Path] = (),
        rewrites: bool = False,
        is_blocked: bool = False,
    ) -> CassettePlan:
        """Return the plan of a cassette.

        ``options`` are those of ``use_cassette``. Without a path among them, the cassette is named after ``function``.
        ``extra`` are files whose recordings answer after its own. ``rewrites`` says that all recordings are made again.
        ``is_blocked`` says that the guard decides about requests to ignored hosts, too. Raises ``TypeError`` without a
        path and a function, and ``CassetteCorrupt`` for a damaged cassette of Aquila.
        """
        note_meaningless(options, _KNOWN)
        note_serializer(options.get("serializer", self.serializer))
        config = self.get_merged_config(**options)
        path = _path_of(config, function)
        given = self._read_options(config, options, rewrites=rewrites, is_blocked=is_blocked)
        files = find_files(
            path,
            extra,
            serializer=config["serializer"],
            persister=config["persister"],
            change_response=given.change_response,
        )
        plan = make_plan(given, files)
        return replace(plan, settings={**plan.settings, "transport": "live"}) if self.is_live else plan

    def _read_options(
        self, config: Mapping[str, Any], options: Mapping[str, Any], *, rewrites: bool, is_blocked: bool
    ) -> VcrOptions:
        get = functools.partial(_option_of, self, options)
        hosts = list(get("ignore_hosts") or ())
        filtered = [host for host in hosts if is_blocked or not isinstance(host, str)]
        said = options.get("record_mode", self.record_mode)
        return VcrOptions(
            config,
            None if isinstance(said, _DefaultMode) else config["record_mode"],
            compares="match_on" in options
            or "additional_matchers" in options
            or self.match_on is not _DEFAULT_MATCHERS,
            ignore_hosts=[host for host in hosts if host not in filtered],
            ignore_localhost=bool(get("ignore_localhost")),
            change_request=self._request_change(config["match_on"], options, filtered),
            change_response=self._response_change(options),
            rewrites=rewrites,
        )

    def _request_change(
        self, match_on: Sequence[Any], options: Mapping[str, Any], filtered_hosts: Sequence[Any]
    ) -> Callable[[Any], Any] | None:
        """Return vcrpy's function that filters requests, or None if it would change nothing.

        ``filtered_hosts`` are the ignored hosts that are regular expressions, or about which the guard decides. Others
        need no filter, because Aquila lets their requests through before this function is called.
        """
        get = functools.partial(_option_of, self, options)
        others = ("filter_query_parameters", "filter_post_data_parameters", "before_record_request")
        if not any(map(get, others)) and not options.get("before_record") and not filtered_hosts:
            filter_headers = get("filter_headers") or ()
            if takes_only_headers_that_are_never_stored(filter_headers, match_on):
                return None
        # Private to vcrpy. It combines the filter options into one function, the same as in vcrpy itself.
        build = self._build_before_record_request
        change: Callable[[Any], Any] = build({**options, "ignore_hosts": filtered_hosts, "ignore_localhost": False})
        return change

    def _response_change(self, options: Mapping[str, Any]) -> Callable[[Any], Any] | None:
        """Return vcrpy's function that filters answers, or None. Bodies are decoded already when it is called."""
        if not _option_of(self, options, "before_record_response"):
            return None
        # Private to vcrpy, like the method for requests.
        change: Callable[[Any], Any] = self._build_before_record_response(
            {**options, "decode_compressed_response": False}
        )
        return change

    def _copy(self) -> VCR:
        # Not with ``__init__``, which would set defaults. The two dicts are copied, because registering changes them.
        copied = VCR.__new__(VCR)
        copied.__dict__.update({**vars(self), "matchers": dict(self.matchers), "serializers": dict(self.serializers)})
        return copied


_PARAMETERS = inspect.signature(vcr.VCR.__init__).parameters
_PLACE_OF_MODE = list(_PARAMETERS).index("record_mode")
_DEFAULT_MATCHERS = _PARAMETERS["match_on"].default
"""An equal list is one that the program has chosen."""


def _option_of(recorder: Any, options: Mapping[str, Any], name: str) -> Any:
    return options.get(name, getattr(recorder, name))


def _path_of(config: Mapping[str, Any], function: Callable[..., Any] | None) -> Path:
    path: Any = config.get("path")
    if path is None:
        if function is None:
            raise TypeError(
                "use_cassette() needs a path when it is used as a context manager. It can be left out only when "
                "decorating a function, to name the cassette after the function."
            )
        generate = config["func_path_generator"]
        path = generate(function) if generate else function.__name__
    if config["path_transformer"]:
        path = config["path_transformer"](path)
    return Path(os.path.normpath(os.fspath(path)))
