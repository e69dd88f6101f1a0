"""vcrpy's hooks on interactions, which change recordings when they are stored and when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vcr.cassette import _run_hooks
from vcr.filters import sensitive_data_hooks

from aquila.cassettes.model import Interaction
from aquila.recording.sessions.filters import InteractionFilter
from aquila.vcr.forms import from_vcr_request, from_vcr_response, to_vcr_request, to_vcr_response


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
