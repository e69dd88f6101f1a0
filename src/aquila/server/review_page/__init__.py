"""The page of ``aquila cassettes review --web``: an ASGI application about one review, for one user of this machine.

``review_application`` has the routes and says whom they answer; ``contents`` what is shown. The folder ``parts`` has
what the browser gets beside the components of the report's page.
"""
