"""Which values are secret in this run, and keeping them out of what is stored and printed.

Begin with ``redactors``: those for the secrets of the machine, of the environment now, and of plugins.
``late_secrets`` redacts again what was recorded before something in it was known to be secret, and ``outgoing`` keeps
secrets out of logs, the terminal and reports. How something is redacted is in ``cassettes.redaction``.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""
