"""Finds the line of a mistake in a cassette, for messages, by parsing the document a second time.

The first parsing keeps no line numbers, because they would cost time and memory in every load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from aquila.cassettes.codecs.yaml.parser import line_of_event, open_event_parser
from aquila.cassettes.codecs.yaml.tree import TreePath


def line_of(data: bytes, path: TreePath) -> int:
    """Return the line (from 1) of the value at ``path`` in a document, or of the nearest container that is found."""
    line = 1
    try:
        get_event = open_event_parser(data).get_event
        event = get_event()
        while isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
            event = get_event()
        for part in path:
            found = _find_child(get_event, event, part)
            if found is None:
                break
            line, event = found
    except yaml.YAMLError:
        pass  # the document cannot be read to the end
    return line


def _find_child(get_event: Callable[[], Any], container: Any, part: str | int) -> tuple[int, Any] | None:
    """Return the line and the first event of a container's child. In a mapping it is the line of the key."""
    index = 0
    while isinstance(container, yaml.CollectionStartEvent):
        first = get_event()
        if isinstance(first, yaml.CollectionEndEvent):
            return None
        value = get_event() if isinstance(container, yaml.MappingStartEvent) else first
        if part == (first.value if value is not first else index):
            return line_of_event(first), value
        _skip_node(get_event, value)
        index += 1
    return None


def _skip_node(get_event: Callable[[], Any], event: Any) -> None:
    """Read on to the end of the node that begins with ``event``."""
    depth = 0
    while True:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth <= 0 or event is None:
            return
        event = get_event()
