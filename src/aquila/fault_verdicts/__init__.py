"""Verdicts on what programs do when answers fail. Judging is pure, and knows neither pytest nor any HTTP client.

``judging`` makes the verdict, and ``report`` shows it: begin there. ``forked_process`` is the child that runs one test
under one fault, and keeps the answers of ``system_proxies``. ``skipped_sleeps`` and ``executed_code`` watch it
(``own_code`` says which code is the program's), and ``left_behind`` finds the threads, tasks and sockets that are left.

Imported by ``pytest_aquila``.
"""
