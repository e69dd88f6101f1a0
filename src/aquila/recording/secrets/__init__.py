"""Which values are secret in this run, and keeping them out of what is stored and printed.

Begin with ``redactors``: the redactors of a run, for the secrets of the machine, of the environment, and of plugins.
``late_secrets`` redacts again what was recorded before something in it was known to be secret, and ``outgoing`` keeps
secrets out of logs, the terminal and reports. ``cassettes.redaction`` does the redaction itself.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""
