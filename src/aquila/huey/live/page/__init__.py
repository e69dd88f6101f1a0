"""The page of jobs: an ASGI application that an application may mount, and that ``aquila jobs`` serves.

``application`` has the routes, ``access`` says who may see and do what, ``actions`` does what its buttons ask for,
``page_events`` sends what is new, until ``server_end`` says that the server stops. ``contents`` is what is shown,
``rendering`` and the folders ``templates`` and ``static`` how. Nothing here is loaded by a worker.

Begin with ``application``. Imported by ``cli``.
"""
