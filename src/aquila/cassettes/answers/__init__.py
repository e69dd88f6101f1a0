"""What recorded answers say, for people who read a cassette, a report or the summary of a run.

A replay delivers the bytes of an answer, whatever is read here.

- ``answer_text`` finds the text and the tool calls of an answer, and the name of its model. Begin here.
- ``answer_usage`` finds the tokens that an answer reports.
- ``transcript`` writes a conversation over a WebSocket as lines.

The parts of an answer one by one (text, reasoning, tool calls, media) are read by ``aquila.run_report.answers``. It has
a reader of its own for each kind of event, so a new kind of event needs a change in both.

Imported by ``codecs``, ``storage`` and everything below ``cassettes``.
"""
