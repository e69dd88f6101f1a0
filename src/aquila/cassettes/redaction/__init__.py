"""Keeps secrets out of cassettes.

Begin with ``redactor``. ``known_secrets`` finds the values of the environment and of requests, ``secret_patterns`` what
looks like a key, and ``header_allowlist`` says which header fields are kept. ``decoded_views`` looks through the
escapes of JSON and URLs, ``split_text`` finds a secret that a stream delivers in pieces, ``found_secrets`` replaces
what was found. ``fingerprints`` lets a child process know a key that it was not given,
and ``trivial_values`` says what is no secret.
"""
