"""Keeps secrets out of cassettes.

Begin with ``redactor``, which redacts requests and responses. ``request_headers`` and ``response_headers`` say which
header fields are kept; ``scrubber`` searches everything else.

- What is a secret: ``known_secrets`` finds values that are known, from ``environment_secrets``, ``request_credentials``
  and ``fingerprints`` (of keys that a child process was not given). ``secret_patterns`` finds text in the shape of a
  key, by the table in ``key_shapes``. ``trivial_values`` says which values are never secrets.
- Where a secret may be: ``decoded_views`` decodes the escapes of JSON, Python, URLs and HTML. ``split_secrets`` joins
  text that a stream delivers in pieces.
- How a secret is removed: ``found_secrets`` merges, numbers and replaces the places that were found. ``text_changes``
  finds the text that a rule, if it is a function, has changed. ``window_redaction`` redacts a large body while it
  arrives, and ``message_redaction`` the frames of conversations that are stored as base64.

Imported by ``codecs``, ``matching``, ``web_socket_frames`` and everything below ``cassettes``.
"""
