"""Reads the frames of a conversation from YAML. Each item of ``frames`` has a mark that says who sent it.

    frames:
    - '<': |                        the provider: rows of tables, as of event streams, with layouts that all share
        =	{"type":"session.created"}
    - '>':                          the client: its JSON as structure
        type: response.create
    - text: Hello                   what the next rows say, for readers only
      '<': |
        a	"Hel"
        a	"lo"
    - '> binary': AAEC              bytes, as base64
    - '> sound': sound 1 from 44, 3200 bytes    the same, in a file of the conversation's ``sounds``
    - '< binary text': |            JSON that was sent as bytes; '> binary text' for the client's
        =	{"serverContent":{}}
    - close: {by: provider, code: 1000}

Texts of the client that are no JSON stand under ``>`` as text. Texts of the provider that no row can hold stand under
``< text``. A person who writes frames by hand may also put JSON as structure under ``<``. The times are separate, in
``recorded``: one for each frame.
"""

from __future__ import annotations

from collections.abc import Iterator

from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.event_streams.stream_reader import MAX_GROWTH, TableError, TableReader
from aquila.cassettes.codecs.yaml.reader import check_keys, read_base64, read_number, read_text, read_texts
from aquila.cassettes.codecs.yaml.tree import FormatError, Tree, TreePath, shorten_name
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.cassettes.web_socket_frames.sound_chunks import is_reference

SENT, SENT_BINARY, SENT_BINARY_TEXT, SENT_SOUND = ">", "> binary", "> binary text", "> sound"
ROWS, TEXT, BINARY, BINARY_ROWS, SOUND = "<", "< text", "< binary", "< binary text", "< sound"
CLOSE = "close"
_MARKS = (SENT, SENT_BINARY, SENT_BINARY_TEXT, SENT_SOUND, ROWS, TEXT, BINARY, BINARY_ROWS, SOUND, CLOSE)
_ITEM = frozenset({"text", *_MARKS})
_FIELDS_OF_CLOSE = frozenset({"by", "code", "reason"})


def build_frames(
    tree: dict[str, Tree], path: TreePath, recorded: dict[str, Tree], when: TreePath
) -> tuple[RecordedChunk, ...]:
    """Build the chunks of a conversation from ``tree``, its response, and ``recorded``, which has the times.

    ``path`` and ``when`` are the places of these two in the document. Raises FormatError.
    """
    items = tree["frames"]
    path, top = (*path, "frames"), path
    if type(items) is not list:
        raise FormatError("'frames' must be a list", path)
    try:
        style = json_body.JsonStyle.from_words(read_text(tree, "json_style", top)) if "json_style" in tree else None
        layouts = read_texts(tree, "layouts", top)
        limit = MAX_GROWTH * sum(map(len, [*layouts, *layouts.values(), *_rows_of(items)]))
        table = TableReader(layouts, limit=limit)
    except TableError as error:
        raise FormatError(str(error), (*top, error.part, error.key)) from None
    except ValueError as error:
        raise FormatError(str(error), (*top, "json_style")) from None
    reader = _ItemReader(style or json_body.JsonStyle(), table)
    said = [each for at, item in enumerate(items) for each in reader.read_item(item, (*path, at))]
    return _with_times(said, recorded, when)


def _rows_of(items: list[Tree]) -> Iterator[str]:
    for item in items:
        for mark in (ROWS, BINARY_ROWS):
            rows = item.get(mark) if type(item) is dict else None
            if isinstance(rows, str):
                yield rows


def _with_times(said: list[RecordedChunk], recorded: dict[str, Tree], when: TreePath) -> tuple[RecordedChunk, ...]:
    if "chunks" not in recorded:
        return tuple(said)
    times = read_text(recorded, "chunks", when).split(" ")
    if not all(time.isascii() and time.isdigit() and len(time) < 16 for time in times):
        raise FormatError("'chunks' of a conversation must be a time for each frame ('412 435')", (*when, "chunks"))
    if len(times) != len(said):
        what = f"there are {len(said)} frames, and 'chunks' has {len(times)} times; it may be left out"
        raise FormatError(what, (*when, "chunks"))
    return tuple([RecordedChunk(chunk.data, int(time)) for chunk, time in zip(said, times, strict=True)])


class _ItemReader:
    """Reads the items of one conversation."""

    def __init__(self, style: json_body.JsonStyle, table: TableReader) -> None:
        self._style = style
        self._table = table

    def read_item(self, item: Tree, path: TreePath) -> list[RecordedChunk]:
        """Return the frames of an item as they are stored. Raises FormatError."""
        check_keys(item, _ITEM, (), path)
        marks = [name for name in item if name != "text"]
        if len(marks) != 1:
            raise FormatError(f"an item of 'frames' must have one of {', '.join(_MARKS)}", path)
        (mark,) = marks
        if mark == CLOSE:
            return [store_close(_read_close(item[mark], (*path, mark)))]
        sent = mark.startswith(SENT)
        if mark in (SENT_BINARY, BINARY):
            return [store_frame(Frame(read_base64(item, mark, path), sent, is_text=False))]
        if mark in (SENT_SOUND, SOUND):
            reference = read_text(item, mark, path).encode()
            if not is_reference(reference):
                raise FormatError("sound is given as 'sound 1 from 44, 3200 bytes'", (*path, mark))
            return [store_frame(Frame(reference, sent, is_text=False))]
        is_text = mark not in (SENT_BINARY_TEXT, BINARY_ROWS)
        if type(item[mark]) in (dict, list):
            return [store_frame(Frame(self._read_json(item[mark], (*path, mark)), sent, is_text))]
        text = read_text(item, mark, path)
        if mark in (ROWS, BINARY_ROWS):
            return [store_frame(Frame(data, sent, is_text)) for data in self._read_rows(text, (*path, mark))]
        return [store_frame(Frame(text.encode(), sent, is_text))]

    def _read_json(self, value: Tree, path: TreePath) -> bytes:
        try:
            return json_body.write_json(value, self._style).encode()
        except ValueError as error:
            raise FormatError(str(error), path) from None

    def _read_rows(self, rows: str, path: TreePath) -> Iterator[bytes]:
        try:
            for number, event in enumerate(self._table.read_events(rows)):
                if not event.endswith("\n\n"):
                    raise TableError("a frame always has its end: write '=' and not '~'", "events", number)
                yield event.removesuffix("\n\n").encode()
        except TableError as error:
            below = error.key + 1 if isinstance(error.key, int) else 0
            raise FormatError(str(error), path, below=below) from None


def _read_close(fields: Tree, path: TreePath) -> Close:
    check_keys(fields, _FIELDS_OF_CLOSE, ("by", "code"), path)
    by = read_text(fields, "by", path)
    code = read_number(fields, "code", path)
    reason = read_text(fields, "reason", path)
    if by == "client":
        return Close("client", code, reason)
    if by == "provider":
        return Close("provider", code, reason)
    raise FormatError(f"'by' must be client or provider, not {shorten_name(by)}", (*path, "by"))
