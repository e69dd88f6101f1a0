"""Reads values by the rules of YAML 1.1, as PyYAML and so vcrpy read them.

Aquila's own cassettes have the numbers and words of JSON. In a file of vcrpy ``12e4567`` is a text, ``yes`` is true and
``0x1F`` is 31.
"""

from __future__ import annotations

import json
import math
from typing import Any

import yaml
import yaml.constructor
import yaml.resolver

from aquila.cassettes.codecs.yaml.tree import Number, PlainText, Tree, map_scalars

_LONGEST = 400
"""The most characters of a scalar that may be a value. Reading a number of base 60 takes quadratic time."""
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


def resolve_values(tree: Tree) -> Tree:
    """Return a tree with its plain scalars read by YAML 1.1. A value that JSON has no form for stays text."""
    return map_scalars(tree, lambda each: _resolve_scalar(each) if type(each) in (Number, PlainText) else each)


def _resolve_scalar(text: str) -> Tree:
    if len(text) > _LONGEST:
        return text if type(text) is Number else str(text)
    resolver: Any = yaml.resolver.Resolver()
    tag = resolver.resolve(yaml.ScalarNode, str(text), (True, False))
    if tag not in _TAGS:
        return str(text)
    try:
        value = yaml.constructor.SafeConstructor().construct_object(yaml.ScalarNode(tag, str(text)))
    except ValueError:
        return str(text)
    if value is None or isinstance(value, bool):
        return value
    if type(text) is Number:
        return text  # with its literal digits
    if isinstance(value, float) and not math.isfinite(value):
        return str(text)
    return Number(json.dumps(value))
