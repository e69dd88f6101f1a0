"""Found by the Python children of a test run, through their ``PYTHONPATH``, before they do anything else.

Importing Aquila in such a child puts the guard of the run in force: ``intercept.processes.child_processes`` writes
``AQUILA_RUN``, and ``intercept.processes.parent_run`` reads it and joins the run. Another ``sitecustomize``, which this
one hides, is run afterwards. ``aquila_guard.pth`` does the same where Aquila is installed, without ``PYTHONPATH``.
"""

import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_the_hidden_one() -> None:
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _HERE]
    hidden = importlib.util.find_spec("sitecustomize") if sys.modules.pop("sitecustomize", None) else None
    if hidden is None or hidden.loader is None:
        # What Python meets where there is none at all. It passes over this error alone, and prints any other.
        raise ModuleNotFoundError("No module named 'sitecustomize'", name="sitecustomize")
    module = importlib.util.module_from_spec(hidden)
    sys.modules["sitecustomize"] = module
    hidden.loader.exec_module(module)


if __name__ == "sitecustomize":
    if os.environ.get("AQUILA_RUN"):
        try:
            import aquila  # noqa: F401
        except Exception as error:
            # A child may be another interpreter, without Aquila: then there is nothing to put in force.
            if not (isinstance(error, ModuleNotFoundError) and error.name == "aquila"):
                raise SystemExit(
                    f"aquila: the guard of the test run could not be put in force here: {error!r}"
                ) from error
    _run_the_hidden_one()
