"""The YAML codec: version 1 of the format that docs/cassette-format.md describes.

Modules that most runs do not need (the writer, the YAML parser, the formats of vcrpy and cassetter) are imported at
their first use. A run whose cassettes have compiled copies never imports `yaml`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.cassettes.codecs.gc_pause import pause_garbage_collection
from aquila.cassettes.codecs.yaml import reader
from aquila.cassettes.codecs.yaml.tree import ADVICE, FormatError, PlainText, Tree, advice_for, map_scalars
from aquila.cassettes.model import FORMAT_VERSION, Cassette
from aquila.errors import CassetteCorrupt, CassetteTooNew
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import optional
    from aquila.cassettes.codecs import cassetter, foreign, vcrpy
    from aquila.cassettes.codecs.yaml import conflict_marks, mistake_lines, parser, writer
else:
    lazy_modules(
        globals(),
        "aquila: optional",
        "aquila.cassettes.codecs: cassetter, foreign, vcrpy",
        "aquila.cassettes.codecs.yaml: conflict_marks, mistake_lines, parser, writer",
    )

_HEAD = f"aquila: {FORMAT_VERSION}\ninteractions:"
_END = "...\n"
"""The end of a YAML document. Without it, a file that was cut off between two lines would read as a shorter answer."""


class YamlCodec:
    """Cassettes for people: readable in a review, exact to the byte. Also reads cassettes of vcrpy and cassetter."""

    suffix = ".yaml"

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        with pause_garbage_collection():
            items = "".join(map(writer.write_item, cassette.interactions))
            return f"{_HEAD}\n{items}{_END}".encode() if items else f"{_HEAD} []\n{_END}".encode()

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        conflict = conflict_marks.find_conflict(data)
        if conflict is not None:
            raise CassetteCorrupt(f"{source}, line {conflict.line}: {conflict.what}. {conflict.advise(source)}")
        try:
            with pause_garbage_collection():
                tree = parser.load_tree(data, source=source, convert=reader.build_item)
                if type(tree) is not dict or "aquila" not in tree:
                    return _load_foreign(tree)
                cassette = reader.build_cassette(tree)
        except FormatError as error:
            raise _corrupt_error(error, data, source) from None
        end = data.rfind(b"\n...")  # not `rstrip`, which copies the whole file
        if end < 0 or data[end + 4 :].strip():
            line = data.count(b"\n") + 1
            raise CassetteCorrupt(
                f"{source}, line {line}: the file is cut off: its last line, '...', is missing. {ADVICE}"
            )
        return cassette


def _load_foreign(tree: Tree) -> Cassette:
    """Build a cassette from a document of another recorder. Raises FormatError for one that Aquila does not read."""
    if tree is None:
        raise FormatError("the file is empty", ())
    if type(tree) is dict and "script" in tree:
        raise FormatError("not a cassette", ())
    missing = "not a cassette: the line 'aquila: 1' at the top is missing"
    kind = foreign.describe_foreign_file(tree)
    if kind:
        raise FormatError(f"{missing}; it looks like {kind}", ())
    if foreign.is_cassetter(tree):
        texts = map_scalars(tree, lambda each: str(each) if type(each) is PlainText else each)
        return cassetter.cassette_from_cassetter(texts)
    if vcrpy.is_vcrpy(tree):
        return vcrpy.cassette_from_vcrpy(tree)
    raise FormatError(missing, ())


def _corrupt_error(error: FormatError, data: bytes, source: str) -> CassetteCorrupt:
    line = mistake_lines.line_of(data, error.path) + error.below
    if error.newer:
        return CassetteTooNew(
            f"{source}, line {line}: written by a newer Aquila ({error.what}). "
            f"Upgrade with: {optional.upgrade_command()}"
        )
    return CassetteCorrupt(f"{source}, line {line}: {error.what}. {advice_for(data)}")
