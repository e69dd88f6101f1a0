"""Tasks for tests of what happens around a task."""


def returning(huey, value=None, *, name="job", **options):
    """Register a task that only returns ``value``. ``options`` are those of ``huey.task``."""
    return huey.task(name=name, **options)(lambda: value)


def failing(huey, error=ValueError, *, name="job", **options):
    """Register a task that only raises ``error``. ``options`` are those of ``huey.task``."""

    def fail():
        raise error

    return huey.task(name=name, **options)(fail)


def execute_all(huey):
    """Execute what is in the queue as a worker does, until nothing is."""
    while (task := huey.dequeue()) is not None:
        huey.execute(task)


class Array:
    """A value that compares by element, as an array of numpy does, and can be pickled."""

    __hash__ = None

    def __eq__(self, other):
        raise ValueError("the truth value of an array is ambiguous")

    def __repr__(self):
        return "array"
