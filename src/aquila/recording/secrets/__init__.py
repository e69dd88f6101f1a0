"""Knows which values are secret in this run, and keeps them out of files and output.

Begin with ``redactors``: the redactors of a run, for the secrets of the machine, of the environment, and of plugins.
``late_secrets`` redacts recordings again when they are stored, because more secrets may be known by then. ``outgoing``
keeps secrets out of logs, the terminal and reports. ``cassettes.redaction`` does the redaction itself.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""
