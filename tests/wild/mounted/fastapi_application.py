"""FastAPI with the page of jobs."""

import contextlib
import os
import pathlib

from fastapi import FastAPI
from jobs import huey

from aquila.huey.live import app


def note(word):
    with pathlib.Path("lifespan.txt").open("a") as file:
        file.write(f"{word}\n")


@contextlib.asynccontextmanager
async def lifespan(application):
    note("began")
    yield
    note("ended")


application = FastAPI(lifespan=lifespan)
application.mount("/jobs", app(huey, token=os.environ["AQUILA_JOBS_TOKEN"]))


@application.get("/")
def greet() -> str:
    return "the application itself"
