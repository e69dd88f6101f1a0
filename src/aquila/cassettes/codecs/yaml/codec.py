"""The YAML codec: version 1 of the format that docs/cassette-format.md describes.

What most runs do not need (writing, a YAML parser, the format of vcrpy) is imported where it is needed.
"""

from __future__ import annotations

from aquila.cassettes.codecs.gc_pause import pause_garbage_collection
from aquila.cassettes.codecs.yaml import line_reader, reader
from aquila.cassettes.codecs.yaml.tree import ADVICE, advice_for
from aquila.cassettes.model import Cassette
from aquila.errors import CassetteCorrupt, CassetteTooNew


class YamlCodec:
    """Cassettes for people: readable in a review, exact to the byte. Reads those of vcrpy and cassetter, too."""

    suffix = ".yaml"

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        from aquila.cassettes.codecs.yaml import writer

        with pause_garbage_collection():
            if not cassette.interactions:
                return line_reader.HEAD[:-1] + b" []" + line_reader.TAIL
            return (
                line_reader.HEAD
                + "".join(map(writer.write_interaction, cassette.interactions)).encode()
                + line_reader.END
            )

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        with pause_garbage_collection():
            try:
                return Cassette(reader.build_interactions(line_reader.interactions(data)))
            except line_reader.NotOurs:
                pass
            except reader.FormatError as mistake:
                raise _corrupt_error(mistake, data, source) from None
            from aquila.cassettes.codecs import cassetter, foreign, vcrpy
            from aquila.cassettes.codecs.yaml import parser

            tree = parser.load_tree(data, source=source)
            try:
                kind = "" if type(tree) is dict and "aquila" in tree else foreign.describe_foreign_file(tree)
                if kind:
                    raise reader.FormatError(
                        f"not a cassette: the line 'aquila: 1' at the top is missing; it looks like {kind}", ()
                    )
                if foreign.is_cassetter(tree):
                    return cassetter.cassette_from_cassetter(tree)
                if vcrpy.is_vcrpy(tree):
                    return vcrpy.cassette_from_vcrpy(tree)
                cassette = reader.build_cassette(tree)
            except reader.FormatError as mistake:
                raise _corrupt_error(mistake, data, source) from None
        if not data.rstrip().endswith(line_reader.TAIL.rstrip()):
            line = data.count(b"\n") + 1
            raise CassetteCorrupt(
                f"{source}, line {line}: the file is cut off: its last line, '...', is missing. {ADVICE}"
            )
        return cassette


def _corrupt_error(found: reader.FormatError, data: bytes, source: str) -> CassetteCorrupt:
    from aquila.cassettes.codecs.yaml import parser

    line = parser.line_of(data, found.path) + found.below
    if found.newer:
        return CassetteTooNew(
            f"{source}, line {line}: written by a newer Aquila ({found.what}). "
            "Upgrade with: pip install --upgrade pytest-aquila"
        )
    return CassetteCorrupt(f"{source}, line {line}: {found.what}. {advice_for(data)}")
