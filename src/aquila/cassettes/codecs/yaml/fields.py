"""Reads the fields of a mapping in a document, or says which of them is wrong."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from aquila.cassettes.codecs.yaml.tree import FormatError, Number, Tree, TreePath, shortened


def check_keys(tree: Tree, known: frozenset[str], needed: tuple[str, ...], path: TreePath) -> None:
    """Raise FormatError for a tree that is no mapping, lacks a key that is needed, or has one that is not known."""
    if type(tree) is not dict:
        name = f"{path[-1]!r}" if isinstance(path[-1], str) else "an interaction"
        raise FormatError(f"{name} must be a mapping", path)
    for name in needed:
        if name not in tree:
            raise FormatError(f"{name!r} is missing", path)
    if not tree.keys() <= known:
        name = next(name for name in tree if name not in known)
        raise FormatError(f"unknown key {shortened(name)}", (*path, name))


def require_text(tree: dict[str, Tree], name: str, path: TreePath) -> str:
    """Return a text; an empty one if it is missing. Raises FormatError."""
    value = tree.get(name, "")
    if type(value) is str:
        return value
    if type(value) is Number:
        return str(value)
    raise FormatError(f"{name!r} must be text", (*path, name))


def require_base64(tree: dict[str, Tree], name: str, path: TreePath) -> bytes:
    """Return the bytes that a text encodes; none if it is missing. Raises FormatError."""
    try:
        return base64.b64decode(require_text(tree, name, path), validate=True)
    except ValueError:
        raise FormatError("not base64", (*path, name)) from None


def check_url(url: str, path: TreePath) -> str:
    """Return a URL as it is. Raises FormatError for what is none, such as one with a bracket that does not close."""
    try:
        urlsplit(url)
    except ValueError:  # not named, because its text may hold a password
        raise FormatError(f"{path[-1]!r} is no URL", path) from None
    return url


def require_texts(tree: dict[str, Tree], name: str, path: TreePath) -> dict[str, str]:
    """Return a mapping of texts; an empty one if it is missing. Raises FormatError."""
    texts = tree.get(name, {})
    if type(texts) is not dict:
        raise FormatError(f"{name!r} must be a mapping", (*path, name))
    return {key: require_text(texts, key, (*path, name)) for key in texts}


def require_number(tree: dict[str, Tree], name: str, path: TreePath) -> int:
    """Return a whole number, which is not below 0; 0 if it is missing. Raises FormatError."""
    value = tree.get(name)
    if value is None and name not in tree:
        return 0
    if type(value) is not Number or not value.isdigit() or len(value) > 15:
        raise FormatError(f"{name!r} must be a whole number", (*path, name))
    return int(value)
