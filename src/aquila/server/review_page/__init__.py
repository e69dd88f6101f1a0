"""The page of ``aquila cassettes review --web``: an ASGI application about one review, for one user of this machine.

``review_application`` has the routes and their admission, and ``contents`` the data that the page shows. The folder
``parts`` has the files for the browser; the page also uses components of the report's page.

Begin with ``review_application``. Imported by ``cli``.
"""
