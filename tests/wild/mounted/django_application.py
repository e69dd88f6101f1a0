"""Django with the page of jobs, as docs/jobs.md has it."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from jobs import huey

from aquila.huey.live import app

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="not one")
urlpatterns = [path("", lambda request: HttpResponse("the application itself"))]

django_application = get_asgi_application()
jobs = app(huey, token=os.environ["AQUILA_JOBS_TOKEN"])


async def application(scope, receive, send):
    prefix = scope.get("root_path", "") + "/jobs"
    if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{prefix}/"):
        await jobs({**scope, "root_path": prefix}, receive, send)
    else:
        await django_application(scope, receive, send)
