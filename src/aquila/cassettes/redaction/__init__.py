"""Keeps secrets out of cassettes.

Begin with ``redactor``. ``known_secrets`` are values that must not be written, ``secret_patterns`` the shapes of keys,
``header_allowlist`` the header fields that are kept, ``split_text`` finds a secret that a stream delivers in pieces.
"""
