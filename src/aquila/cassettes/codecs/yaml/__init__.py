"""The YAML form of a cassette, for people: readable in a review, exact to the byte.

- ``codec`` reads and writes whole files. Begin here.
- ``writer`` decides what is written, and ``emitter`` in which style: quoted, plain, or as a block scalar.
- ``parser`` turns text into the types of ``tree``, and ``reader`` builds a cassette from them.
- ``frame_writer`` and ``frame_reader`` write and read conversations over WebSockets.
- ``values_1_1`` reads values by the rules of YAML 1.1, as vcrpy does.
- ``mistake_lines`` finds the line of a mistake, and ``conflict_marks`` the marks of a git conflict, for messages.

Imported by the other codecs: ``foreign``, ``vcrpy``, ``cassetter``, ``msgpack``, ``json_body``; for YAML of other kinds
by ``cli``, ``faults`` and ``scripting``; and by ``vcr``.
"""
