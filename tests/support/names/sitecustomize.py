"""Maps host names in Python child processes of a test with ``real_hosts``, which has this folder in ``PYTHONPATH``."""

import importlib.util
import os

if os.environ.get("REAL_HOSTS"):
    _path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mapped.py")
    _spec = importlib.util.spec_from_file_location("mapped_host_names", _path)
    assert _spec is not None
    assert _spec.loader is not None
    _mapped = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_mapped)
    _mapped.map_names(_mapped.from_environment())
