"""Loads what runs of pytest within this process use: each of them forgets the modules that it loaded itself.

Two copies of a module would be two registries, and two classes of one name.
"""

import importlib

for _name in (
    "aiohttp",
    "anyio._backends._asyncio",
    "aquila._using",
    "aquila.cassettes.codecs.safeyaml",
    "aquila.cassettes.codecs.vcrpy",
    "aquila.cassettes.codecs.yaml",
    "aquila.cassettes.diff",
    "aquila.cassettes.drift",
    "aquila.cassettes.recording",
    "aquila.transports.bridge",
    "aquila.transports.foreign_stubs",
    "aquila.transports.guard",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "pytest_aquila.compat",
    "requests",
):
    importlib.import_module(_name)
