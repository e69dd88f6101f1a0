"""The page of jobs: an ASGI application that an application may mount, and that ``aquila jobs`` serves.

Begin with ``application``, which has the routes. ``access`` decides who may see and do what, ``actions`` does what the
buttons ask for. ``page_events`` sends new events to open pages, until the server stops.
``contents`` collects what is shown. ``rendering`` turns it into HTML with the folders ``templates`` and ``static``.

No worker loads this package. Imported by ``cli``.
"""
