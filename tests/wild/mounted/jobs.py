"""A queue, as an application of its users has it."""

import os

from aquila.huey import SqliteHuey
from aquila.huey.live import publish_jobs

huey = SqliteHuey("articles", filename=os.environ["JOBS_DB"])
publish_jobs(huey, every=0.02)


@huey.task()
def write_article(topic):
    return f"About {topic}."
