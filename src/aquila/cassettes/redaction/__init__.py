"""Keeps secrets out of cassettes.

Begin with ``redactor``, which redacts requests and responses. ``request_headers`` and ``response_headers`` say which
header fields are kept; ``scrubber`` searches everything else.

- What is a secret: ``known_secrets`` finds values that are known, from ``environment_secrets``, ``request_credentials``
  and ``fingerprints`` (of keys that a child process was not given); ``secret_patterns`` finds what looks like a key, by
  the table in ``key_shapes``; ``trivial_values`` says what is none.
- Where it may hide: ``decoded_views`` looks through the escapes of JSON and URLs, ``split_secrets`` puts together what
  a stream delivers in pieces.
- How it is taken out: ``found_secrets`` merges, numbers and replaces the places that were found. ``text_changes`` finds
  what a rule that is a function has changed. ``window_redaction`` redacts a large body while it arrives, and
  ``frame_redaction`` the frames of conversations that are stored as base64.

Imported by ``codecs``, ``matching``, ``web_socket_frames`` and everything below ``cassettes``.
"""
