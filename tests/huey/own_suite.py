"""Run Huey's own test suite with Aquila's serializer in place of pickle: ``python own_suite.py [signed]``.

Run in a process of its own, since it changes ``huey.api``.
"""

import sys
import unittest

import huey.api
import huey.tests
from huey.tests.test_api import TestError

from aquila.huey.serializer import MsgpackSerializer

EXCLUDED = {
    # Stores a set, which only pickle gives back as one; Aquila refuses it and says to send a sorted list.
    "huey.tests.test_api.TestHueyAPIs.test_put_get",
}


def make(compression: bool = False, use_zlib: bool = False) -> MsgpackSerializer:
    # TestError is the suite's own exception class; its handlers look at the object they are handed.
    options = {"secret": "sixteen bytes or more", "queue": "suite"} if "signed" in sys.argv else {}
    return MsgpackSerializer(compression=compression, exceptions=[TestError], **options)


def flatten(suite):
    for part in suite:
        yield from flatten(part) if isinstance(part, unittest.TestSuite) else [part]


if __name__ == "__main__":
    huey.api.Serializer = make
    cases = list(flatten(unittest.defaultTestLoader.loadTestsFromModule(huey.tests)))
    missing = EXCLUDED - {case.id() for case in cases}
    assert not missing, f"excluded tests that do not exist: {missing}"
    result = unittest.TextTestRunner(verbosity=0).run(unittest.TestSuite(c for c in cases if c.id() not in EXCLUDED))
    print(f"ran {result.testsRun} skipped {len(result.skipped)}")
    sys.exit(not result.wasSuccessful())
