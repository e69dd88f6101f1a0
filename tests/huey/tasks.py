"""Tasks for tests of what happens around a task."""


def returning(huey, value=None, *, name="job", **options):
    """Register a task that only returns ``value``. ``options`` are those of ``huey.task``."""
    return huey.task(name=name, **options)(lambda: value)
