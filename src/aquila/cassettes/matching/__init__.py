"""Finds the recording that answers a request, and writes the message of a miss if none does.

How requests are compared:

- ``request_key`` computes the key of a request from its JSON, form, multipart body or query. Begin here.
- ``match_rules`` says which parts of a request are compared (``match_on``).
- ``canonical_json`` compares JSON by value, without the paths of ``json_path`` (``aquila_ignore``).
- ``uploaded_file`` says which properties of a file are compared.
- ``fresh_value_placeholders`` replaces values that are new in every run (``aquila_normalize``). ``fresh_values`` is the
  table of their kinds.

The message of a miss:

- ``miss_message`` writes the message, with bodies as ``body_lines``.
- ``nearest_recording`` finds the recording to compare with, and ``difference`` lists where the two differ.
- ``cures`` finds the settings under which the request would match. ``miss_remarks`` names a likely cause where no
  setting helps.

Recordings that belong together:

- ``provider_ids`` has the places where requests name ids that a provider looks up. ``linked_recordings`` finds the
  recordings that such ids link.

Imported by ``codecs``, ``storage``, ``web_socket_frames`` and everything below ``cassettes``.
"""
