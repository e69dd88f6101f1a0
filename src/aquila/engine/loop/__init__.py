"""The conversation with a model and its tools, as steps without I/O. Begin with ``tool_loop``.

``steps`` are what a driver is asked to do, ``tool_rounds`` and ``tool_execution`` run tools, ``sending`` is what all
loops share.
"""
