"""The page of ``aquila cassettes review --web``: an ASGI application about one review, for one user of this machine.

``review_application`` has the routes and their admission, ``contents`` what is shown. The folder ``parts`` has the
files for the browser, besides the components of the report's page.

Begin with ``review_application``. Imported by ``cli``.
"""
