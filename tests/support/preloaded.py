"""Loads the modules that inner pytest runs use. An inner run may forget the modules that it has loaded itself.

Two copies of a module would be two registries, and two classes of one name.
"""

import importlib

for _name in (
    "aiohttp",
    "anyio._backends._asyncio",
    "aquila.intercept.use_cassette",
    "aquila.cassettes.codecs.yaml.parser",
    "aquila.cassettes.codecs.vcrpy",
    "aquila.cassettes.codecs.yaml.codec",
    "aquila.cassettes.matching.miss_message",
    "aquila.recording.reporting.drift_watch",
    "aquila.recording.storing.recorder",
    "aquila.transports.callers.intercepted_requests",
    "aquila.intercept.http_clients.vcr_stubs",
    "aquila.intercept.connections.socket_guard",
    "aquila.intercept.http_clients.other_clients",
    "aquila.intercept.web_sockets.peer",
    "aquila.intercept.web_sockets.scripted_answering",
    "aquila.intercept.web_sockets.libraries.websockets_asyncio",
    "aquila.intercept.web_sockets.libraries.websockets_sync",
    "aquila.recording.askers",
    "aquila.recording.scripts",
    "aquila.transports.routes.script_route",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "aquila.vcr",
    "pytest_aquila.summary.drift_report",
    "pytest_aquila.vcr_compat.cassetter_config",
    "pytest_aquila.vcr_compat.cassetter_objects",
    "pytest_aquila.vcr_compat.cassettes",
    "requests",
):
    importlib.import_module(_name)
