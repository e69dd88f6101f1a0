"""Random input, of the kind that strangers may have written: `python -m tests.fuzz --seconds 60`, or `make fuzz`.

`targets.py` has the targets. Each is a hypothesis test, which shows a small input that fails. The suite runs each
target for a moment; see `test_fuzz.py`.
"""
