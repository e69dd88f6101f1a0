"""Compares the arguments of a task with its parameters when the task is enqueued, and not only in the worker."""

from __future__ import annotations

import inspect
from typing import Any

from huey.api import Task

from aquila.errors import TaskContractBroken


def check_when_enqueued(task_class: type[Task], parameters: inspect.Signature) -> None:
    """Make ``check_arguments`` compare the arguments of the tasks of ``task_class`` with ``parameters``."""
    # The class is one that Huey has made for a single decorated function, so changing it changes no other task. Huey
    # calls `extend_data` to add the result of the task before; from then on the arguments are not the caller's alone.
    extend = task_class.extend_data

    def extend_data(self: Any, data: Any) -> None:
        self._aquila_follows = True
        extend(self, data)

    task_class._aquila_parameters = parameters
    task_class.extend_data = extend_data


def check_arguments(task: Any) -> None:
    """Raise ``TaskContractBroken`` if a task is about to be enqueued with arguments that do not fit its parameters.

    A task that follows another one is not checked. Huey has added the result of the other task to its arguments, and
    the error would come after the other task has ended.
    """
    parameters: inspect.Signature | None = getattr(type(task), "_aquila_parameters", None)
    if parameters is None or getattr(task, "_aquila_follows", False):
        return
    try:
        parameters.bind(*task.args, **task.kwargs)
    except TypeError as error:
        raise TaskContractBroken(
            f"{task.name} takes ({', '.join(parameters.parameters)}), and is enqueued with other arguments: {error}"
        ) from None
