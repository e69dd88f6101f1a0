"""Translates the options of a vcrpy recorder into files, settings and filters of Aquila."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vcr.cassette import _run_hooks
from vcr.filters import sensitive_data_hooks
from vcr.record_mode import RecordMode

from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.request_headers import REQUEST_HEADERS
from aquila.config import SettingsLayers
from aquila.recording import runtime
from aquila.recording.scope import Scope
from aquila.recording.sessions.filters import Comparison, Filters, InteractionFilter, RequestFilter, ResponseFilter
from aquila.vcr.forms import from_vcr_request, from_vcr_response, to_vcr_request, to_vcr_response, with_text
from aquila.vcr.ignored_options import note_match_on, note_unheeded
from aquila.vcr.matching import OF_PARTS, comparison_of, parts_of, with_content
from aquila.vcr.other_files import CassetteFiles


@dataclass(frozen=True, slots=True)
class CassettePlan:
    """How Aquila uses a cassette.

    ``settings`` are settings of Aquila. ``filters`` change requests and answers before they are compared and stored.
    ``drops_unused`` says that recordings that were not used are removed.
    """

    files: CassetteFiles
    record_mode: RecordMode
    settings: Mapping[str, Any]
    filters: Filters
    drops_unused: bool
    allow_playback_repeats: bool

    @property
    def name(self) -> str:
        """The name of the cassette in its folder."""
        return self.files.own.name

    def apply_to(self, scope: Scope, *, owned: bool, source: str) -> None:
        """Let a scope use the cassette as planned.

        ``owned`` says that no other scope uses the cassette. ``source`` names the origin of the settings in messages.
        """
        scope.use_filters(self.filters, self.files.further)
        scope.override_settings(self.settings, source=source)
        # With Aquila's own options for recording, unused recordings are handled as in any other test.
        keeps_unused = "record" in self.settings and not self.drops_unused
        scope.use_cassette(self.name, owned=owned or self.drops_unused, keeps_unused=keeps_unused)
        if self.drops_unused:
            scope.drop_unused()
        watch_contents(scope)


def watch_contents(scope: Scope) -> None:
    """Note requests of tests with another content than recorded, if a replay of the scope does not compare bodies."""
    run, settings = scope.run, scope.settings
    is_watched = run.runs_tests and not run.layers.finds_drift  # which notes them in its own way
    if is_watched and settings.transport == "replay" and "body" not in settings.match_on:
        scope.sessions.watch_contents()


@dataclass(frozen=True, slots=True)
class VcrOptions:
    """The options of a recorder of vcrpy, with defaults, and what of them the program gave explicitly.

    ``config`` is vcrpy's merged configuration. ``record_mode`` is None if the program gave none. ``compares`` says that
    the program chose what is compared. ``rewrites`` is the mode ``rewrite`` of pytest-recording: all recordings are
    made again.
    """

    config: Mapping[str, Any]
    record_mode: RecordMode | None
    compares: bool
    ignore_hosts: Sequence[Any]
    ignore_localhost: bool
    change_request: Callable[[Any], Any] | None
    change_response: Callable[[Any], Any] | None
    rewrites: bool = False


def make_plan(given: VcrOptions, files: CassetteFiles) -> CassettePlan:
    """Return the plan of the cassette in ``files``. Aquila's own options override the ``given`` ones of vcrpy."""
    layers = runtime.current_run().layers
    mode = given.record_mode or _default_mode()
    matchers = list(given.config["match_on"])
    if _records_changed_bodies(layers):
        matchers = with_content(matchers)
    settings: dict[str, Any] = {
        "loopback": "none" if given.ignore_localhost else "all",
        "repeat": "first" if given.config["allow_playback_repeats"] else "error",
        **_transport_of(mode, files, rewrites=given.rewrites),
    }
    if given.ignore_hosts:
        settings["ignore_hosts"] = given.ignore_hosts
    is_same: Comparison | None = None
    if given.compares or not layers.gives("match_on"):
        settings["match_on"], is_same = parts_of(matchers), comparison_of(matchers)
        if "match_on" in layers.ini:
            note_match_on()
    if "match_on" in layers.command_line:
        is_same = None
    if is_same is not None and (unheeded := [name for name in OF_PARTS if layers.gives(name)]):
        note_unheeded(unheeded)
    change_loaded, change_stored = find_hooks(given.config)
    filters = Filters(
        _request_filter(given.change_request),
        _response_filter(given.change_response),
        is_same,
        files.load_further,
        change_loaded,
        change_stored,
    )
    return CassettePlan(
        files,
        mode,
        {**_without_overridden(settings, layers), "cassette_dir": str(files.own.parent.absolute())},
        filters,
        drops_unused=bool(given.config["drop_unused_requests"]) or given.rewrites,
        allow_playback_repeats=bool(given.config["allow_playback_repeats"]),
    )


def _records_changed_bodies(layers: SettingsLayers) -> bool:
    """Whether Aquila's own options ask for recording, so that a request with a changed body is recorded, too."""
    return layers.gives("transport") and layers.resolve().transport == "record"


def _default_mode() -> RecordMode:
    """Return the record mode if none was given: vcrpy's default. A test run records only if it is told to."""
    return RecordMode.NONE if runtime.is_under_pytest() else RecordMode.ONCE


def _transport_of(mode: RecordMode, files: CassetteFiles, *, rewrites: bool) -> dict[str, str]:
    if mode == RecordMode.NONE or (mode == RecordMode.ONCE and files.exists):
        return {"transport": "replay"}
    return {"transport": "record", "record": "all" if rewrites or mode == RecordMode.ALL else "missing"}


def _without_overridden(settings: Mapping[str, Any], layers: SettingsLayers) -> dict[str, Any]:
    """Return the settings without those that Aquila's own options or the environment override."""
    first = set(layers.command_line)
    if layers.gives("transport"):
        first |= {"transport", "record"}
    return {name: value for name, value in settings.items() if name not in first}


def _request_filter(change: Callable[[Any], Any] | None) -> RequestFilter | None:
    if change is None:
        return None

    def change_request(request: RecordedRequest) -> RecordedRequest | None:
        changed = change(to_vcr_request(request))
        return from_vcr_request(changed, request) if changed else None

    return change_request


def _response_filter(change: Callable[[Any], Any] | None) -> ResponseFilter | None:
    if change is None:
        return None

    def change_response(response: RecordedResponse) -> RecordedResponse | None:
        if not response.has_begun:  # vcrpy does not record failed connections, so the function does not expect them
            return response
        changed = with_text(change(to_vcr_response(response)), change)  # one hook may make the form, and undo it
        return None if changed is None else from_vcr_response(changed, response)

    return change_response


def takes_only_headers_that_are_never_stored(filter_headers: Iterable[Any], matchers: Sequence[Any]) -> bool:
    """Whether ``filter_headers`` removes only fields that are neither compared nor stored, so that it need not run."""
    names = [entry if isinstance(entry, str) else entry[0] for entry in filter_headers]
    return "headers" not in parts_of(matchers) and not any(name.lower() in REQUEST_HEADERS for name in names)


def find_hooks(config: Mapping[str, Any]) -> tuple[InteractionFilter | None, InteractionFilter | None]:
    """Return the functions that change interactions after loading and before storing; None for no change.

    ``config`` is vcrpy's configuration. The functions come from its ``after_load_interaction``,
    ``before_save_interaction`` and ``filter_sensitive_data``.
    """
    loading, saving = _listed(config["after_load_interaction"]), _listed(config["before_save_interaction"])
    if config["filter_sensitive_data"]:
        hide, restore = sensitive_data_hooks(config["filter_sensitive_data"])
        loading, saving = [restore, *loading], [*saving, hide]
    return _filter_by(loading), _filter_by(saving)


def _listed(hooks: Any) -> list[Callable[..., Any]]:
    if hooks is None:
        return []
    return list(hooks) if isinstance(hooks, Iterable) else [hooks]


def _filter_by(hooks: Sequence[Callable[..., Any]]) -> InteractionFilter | None:
    if not hooks:
        return None

    def change(interaction: Interaction) -> Interaction | None:
        request, response = interaction.request, interaction.response
        if not response.has_begun:  # vcrpy does not record failed connections, so hooks do not expect them
            return interaction
        # vcrpy passes the cassette as a third argument to hooks that accept it. Here that is None, because the cassette
        # is not open yet while it is loaded.
        changed = _run_hooks(hooks, to_vcr_request(request), to_vcr_response(response), None)
        if changed is None:
            return None
        return replace(
            interaction,
            request=from_vcr_request(changed[0], request),
            response=from_vcr_response(changed[1], response),
        )

    return change
