"""The YAML form of a cassette, for people: readable in a review, exact to the byte.

Begin with ``codec``. ``writer`` decides what is written and ``emitter`` how: quoted, plain, or as a block scalar;
``parser`` and ``reader`` turn text into a cassette.

``frame_writer`` and ``frame_reader`` do the same for conversations over WebSockets. ``tree`` is what a document is read
into, ``values_1_1`` reads values as vcrpy wrote them, ``mistake_lines`` finds the line of a mistake, and
``written_items`` remembers the texts that were written last.

Imported by the other codecs: ``foreign``, ``vcrpy``, ``cassetter``, ``msgpack``, ``json_body``; for YAML of other kinds
by ``cli``, ``faults`` and ``scripting``; and by ``vcr``.
"""
