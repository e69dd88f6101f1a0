"""The process that runs an embedded model: llama.cpp's HTTP server from ``xllamacpp`` on a loopback port.

This is a script that is run by its file name, so that nothing of Aquila is imported. It reads one line of JSON from
standard input: the model file, its public name, the number of threads, the most tokens of an answer whose request sets
no limit, an API key for the port, and the folder of ``xllamacpp``. It writes one line: ``{"url": ...}`` once the model
answers, or ``{"error": ...}``. Standard input then stays open as a lifeline: it closes however the parent ends, even if
that is killed, and then this process ends at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

CONTEXT = 4096
"""Tokens of one conversation, prompt and answer together."""


def _server_parameters(xllamacpp: Any, config: Mapping[str, Any]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = config["model"]
    parameters.model_alias = {config["name"]}  # what answers show; without it the file's path
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    # Without a key, and with the default CORS answer, any page in a browser of this machine could use the port.
    parameters.api_keys = [config["key"]]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.cpuparams.n_threads = config["threads"]
    parameters.n_ctx = CONTEXT
    if config["longest_answer"] is not None:
        parameters.n_predict = config["longest_answer"]
    # One slot and no prompt cache: a text then never depends on what else is, or was, being answered. Batched requests
    # are computed with other kernels, whose rounding differs, and on a few cores batching gains next to nothing.
    # Further requests wait in llama.cpp's queue.
    parameters.n_parallel = 1
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.verbosity = 1  # errors only
    return parameters


def main() -> None:
    config = json.loads(sys.stdin.buffer.readline())
    # Native code may print to descriptor 1, so the answer goes to a copy of it, and descriptor 1 to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.append(config["packages"])
    try:
        import xllamacpp  # noqa: PLC0415 - found only after sys.path is set

        server = xllamacpp.Server(_server_parameters(xllamacpp, config))
        answer = {"url": server.listening_address}
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
    if "url" in answer:
        sys.stdin.buffer.read()
    # Without destructors: that of the server crashes while a request is being answered. Nothing here must be saved.
    os._exit(0)


if __name__ == "__main__":
    main()
