"""The reference of public names: a page for each topic of ``docs/api.md``, from the docstrings.

Each name has an example: that of its docstring, or the shortest snippet of a page that uses it.
"""

from __future__ import annotations

import re
from functools import cache

import griffe
import usage


def titles() -> dict[str, str]:
    """Return the pages of the reference by name, each with its title."""
    return {_page_name(topic): topic for topic in usage.names_by_topic()}


def make_pages() -> dict[str, str]:
    """Return the pages of the reference by name, as Markdown."""
    return {_page_name(topic): _make_page(topic, names) for topic, names in usage.names_by_topic().items()}


def make_texts() -> dict[str, str]:
    """Return the same pages as plain Markdown, with signatures and docstrings, for who reads no HTML."""
    return {
        _page_name(topic): "\n\n".join([f"# {topic}", *(_describe_in_text(name) for name in names)]) + "\n"
        for topic, names in usage.names_by_topic().items()
    }


def _describe_in_text(name: str) -> str:
    found = _find(name)
    if isinstance(found, str):
        return f"## {name}\n\n`{found}`, under another name.{_show_example(name)}"
    text = found.docstring.value if found.docstring else ""
    parts = [f"## {name}", _signature_of(found), text + _list_keys(found)]
    for member in found.members.values() if isinstance(found, griffe.Class) else ():
        if not member.is_alias and member.docstring and not member.name.startswith("_"):
            first = member.docstring.value.partition("\n\n")[0].replace("\n", " ")
            parts.append(f"- `{_plain_signature(member) or member.name}`: {first}")
    return "\n\n".join(part for part in parts if part) + _show_example(name)


def _signature_of(found: griffe.Object) -> str:
    text = _plain_signature(found)
    return f"```python\n{text}\n```" if text else ""


def _plain_signature(found: griffe.Object | griffe.Alias) -> str:
    if isinstance(found, griffe.Function | griffe.Class):
        return str(found.signature())
    if isinstance(found, griffe.Attribute):
        return f"{found.name}: {found.annotation}" if found.annotation else found.name
    return ""


def _page_name(topic: str) -> str:
    return "reference/" + re.sub(r"[^a-z]+", "-", topic.lower()).strip("-") + ".md"


def _make_page(topic: str, names: list[str]) -> str:
    return "\n\n".join([f"# {topic}", *(_describe(name) + _show_example(name) for name in names)]) + "\n"


def _describe(name: str) -> str:
    found = _find(name)
    if isinstance(found, str):
        return f"## `{name}` {{#{name}}}\n\n`{found}`, under another name."
    if found.is_module or _is_typed_dict(found):
        # The public members of a module have entries of their own, and keys need no headings.
        return f"::: {name}\n    options:\n      members: false{_list_keys(found)}"
    if "dataclass" in found.labels:  # its fields are what it is made of
        return f"::: {name}\n    options:\n      merge_init_into_class: true"
    return f"::: {name}"


def _is_typed_dict(found: griffe.Object) -> bool:
    if not isinstance(found, griffe.Class):
        return False
    bases = [*found.bases, *(base for parent in found.mro() for base in parent.bases)]
    return any(str(base).endswith("TypedDict") for base in bases)


def _list_keys(found: griffe.Object) -> str:
    """Return the keys of a typed dictionary with their types, as a table."""
    if not _is_typed_dict(found):
        return ""
    keys = {key: _type_of(member) for key, member in found.all_members.items() if member.is_attribute}
    rows = [f"| `{key}` | `{kind.removesuffix(' | None')}` |" for key, kind in keys.items()]
    return "\n\n" + "\n".join(["| key | type |", "|---|---|", *rows])


def _type_of(member: griffe.Object | griffe.Alias) -> str:
    """Return an annotation without what ``Annotated`` adds to it."""
    annotation = member.annotation
    if isinstance(annotation, griffe.ExprSubscript) and str(annotation.left).endswith("Annotated"):
        annotation = annotation.slice.elements[0]
    return str(annotation)


def _find(name: str) -> griffe.Object | str:
    """Return the object of a name; for an object of another package, its full name there."""
    found = _package()[name.removeprefix("aquila.")]
    try:
        return found.final_target if isinstance(found, griffe.Alias) else found
    except griffe.AliasResolutionError as error:
        return error.alias.target_path


def _show_example(name: str) -> str:
    if usage.shows_itself(name):
        return ""
    snippet = usage.find_snippet(name)
    if snippet is None:
        function = usage.find_function_of(name)
        return f"\n\nFor an example see [`{function}`][{function}], whose type this is." if function else ""
    return f"\n\nAn example, from [{_read_title(snippet.page)}](../{snippet.page}):\n\n```python\n{snippet.code}```"


def _read_title(page: str) -> str:
    return (usage.REPOSITORY / "docs" / page).read_text("utf-8").partition("\n")[0].removeprefix("# ")


@cache
def _package() -> griffe.Object | griffe.Alias:
    return griffe.load("aquila", search_paths=[usage.SOURCE])
