"""What recorded answers say, for people who read a cassette, a report or the summary of a run.

A replay delivers the bytes of an answer, whatever is read here.

- ``answer_content`` finds text, reasoning, tool calls, media, the model and the end of an answer, for every provider.
  Begin here.
- ``answer_text`` writes the text and the tool calls as one text.
- ``answer_usage`` finds the tokens that an answer reports.
- ``found_media`` finds images, sounds and files, in requests too.
- ``transcript`` writes a conversation over a WebSocket as lines.

Imported by ``codecs``, ``storage`` and everything below ``cassettes``.
"""
