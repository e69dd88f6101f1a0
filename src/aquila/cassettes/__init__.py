"""What a recording is: its model, what makes two requests the same, what is secret, how it is stored and written.

Nothing here knows an HTTP client or the settings of a run; both are handed in. The rooms:

- ``model``: the records that everything else is about. Begin here.
- ``matching``: which recording answers a request, and what a miss says.
- ``redaction``: what must not be written, and how it is taken out.
- ``storage``: names, files, journals, and how recordings are merged into a file.
- ``codecs``: the file formats.

Imported by ``recording`` and everything below it. This file imports nothing, so that one part loads no other.
"""
