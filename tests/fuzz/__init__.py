"""What strangers may have written, made at random without end: `python -m tests.fuzz --seconds 60`, or `make fuzz`.

`targets.py` has the targets. Each is a hypothesis test, so what fails is made small and shown. The suite runs each of
them for a moment; see `test_fuzz.py`.
"""
