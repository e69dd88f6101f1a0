"""Verdicts on what programs do when answers fail. Judging is pure, and knows neither pytest nor any HTTP client.

``skipped_sleeps.py`` and ``executed_code.py`` watch a process that runs one test under one fault, ``judging.py`` makes
the verdict, and ``report.py`` shows it.
"""
