"""The YAML codec: version 1 of the format that docs/cassette-format.md describes.

What most runs do not need (writing, a YAML parser, the format of vcrpy) is imported where it is needed.
"""

from __future__ import annotations

from aquila.cassettes.codecs import ownyaml, reading
from aquila.cassettes.codecs._gc import collector_paused
from aquila.cassettes.codecs.tree import ADVICE, advice
from aquila.cassettes.model import Cassette
from aquila.errors import CassetteCorrupt, CassetteTooNew


class YamlCodec:
    """Cassettes for people: readable in a review, exact to the byte. Reads those of vcrpy and cassetter, too."""

    suffix = ".yaml"

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        from aquila.cassettes.codecs import writing

        with collector_paused():
            if not cassette.interactions:
                return ownyaml.HEAD[:-1] + b" []" + ownyaml.TAIL
            return ownyaml.HEAD + "".join(map(writing.interaction, cassette.interactions)).encode() + ownyaml.END

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        with collector_paused():
            try:
                return Cassette(reading.interactions(ownyaml.interactions(data)))
            except ownyaml.NotOurs:
                pass
            except reading.Mistake as mistake:
                raise _error(mistake, data, source) from None
            from aquila.cassettes.codecs import cassetter, foreign, safeyaml, vcrpy

            tree = safeyaml.load(data, source=source)
            try:
                kind = "" if type(tree) is dict and "aquila" in tree else foreign.looks_like(tree)
                if kind:
                    raise reading.Mistake(
                        f"not a cassette: the line 'aquila: 1' at the top is missing; it looks like {kind}", ()
                    )
                if foreign.is_cassetter(tree):
                    return cassetter.cassette(tree)
                if vcrpy.is_one(tree):
                    return vcrpy.cassette(tree)
                cassette = reading.cassette(tree)
            except reading.Mistake as mistake:
                raise _error(mistake, data, source) from None
        if not data.rstrip().endswith(ownyaml.TAIL.rstrip()):
            line = data.count(b"\n") + 1
            raise CassetteCorrupt(
                f"{source}, line {line}: the file is cut off: its last line, '...', is missing. {ADVICE}"
            )
        return cassette


def _error(found: reading.Mistake, data: bytes, source: str) -> CassetteCorrupt:
    from aquila.cassettes.codecs import safeyaml

    line = safeyaml.line_of(data, found.path) + found.below
    if found.newer:
        return CassetteTooNew(
            f"{source}, line {line}: written by a newer Aquila ({found.what}). "
            "Upgrade with: pip install --upgrade pytest-aquila"
        )
    return CassetteCorrupt(f"{source}, line {line}: {found.what}. {advice(data)}")
