"""Read the signatures of functions that users have written."""

from __future__ import annotations

import functools
import inspect
import sys

if sys.version_info >= (3, 14):
    from annotationlib import Format  # loaded by `inspect`

    # Annotations are computed when they are read, and may name what only type checkers import.
    read_signature = functools.partial(inspect.signature, annotation_format=Format.FORWARDREF)
else:
    read_signature = inspect.signature
