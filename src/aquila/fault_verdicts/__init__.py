"""Judges what programs do when answers fail. Judging is pure, and knows neither pytest nor any HTTP client.

``judging`` makes the verdict, and ``report`` shows it: begin there. ``forked_process`` is the child that runs one test
under one fault. In the child ``skipped_sleeps`` skips the sleeps of back-off, ``executed_code`` notes which code of the
program runs (``own_code`` tells that code from libraries), and ``left_behind`` finds the threads, tasks and sockets
that the test leaves.

Imported by ``pytest_aquila``.
"""
