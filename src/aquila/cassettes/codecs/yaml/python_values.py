"""What objects of Python hold in the files of other recorders: read as plain text and bytes, never executed.

PyYAML writes an object that is no plain value with a tag that names its class: a header's name that is a
``multidict.istr``, a body that is an ``io.BytesIO``. Nothing here imports or calls what a tag names.
"""

from __future__ import annotations

from aquila.cassettes.codecs.yaml.tree import Tree

PREFIX = "tag:yaml.org,2002:python/"

_CONTAINERS = ("tuple", "list", "dict")
_OBJECTS = ("object:", "object/new:", "object/apply:")
_PLAIN = {
    **dict.fromkeys(("str", "unicode"), "tag:yaml.org,2002:str"),
    "bytes": "tag:yaml.org,2002:binary",
    **dict.fromkeys(("int", "long", "float", "bool", "none")),
}
"""The tag without Python of a scalar; None for one that needs no tag."""


def plain_tag(tag: str) -> str | None:
    """Return the tag under which a scalar is read; the same tag if it is that of an object."""
    return _PLAIN.get(tag.removeprefix(PREFIX), tag)


def plain_value(tag: str, children: Tree) -> Tree | None:
    """Return what an object holds: a list, a mapping, text or bytes; None for an object of another kind.

    ``children`` is the sequence of its arguments, or the mapping of its arguments and its state.
    """
    kind = tag.removeprefix(PREFIX)
    if kind in _CONTAINERS:
        return children
    if not kind.startswith(_OBJECTS):
        return None
    if type(children) is dict:
        if not children.keys() <= {"args", "state"}:
            return None
        held = children.get("args") or children.get("state")
        # The state of a buffer is its content, the place in it, and its attributes.
        children = held[:1] if type(held) is list and kind.endswith(("BytesIO", "StringIO")) else held
    if type(children) is list and len(children) == 1 and isinstance(children[0], str | bytes):
        return str(children[0]) if isinstance(children[0], str) else children[0]
    return None
