"""Tasks whose arguments are compared with their parameters where they are enqueued, and not first in the worker."""

from __future__ import annotations

import inspect
from typing import Any

from huey.api import Task

from aquila.errors import TaskContractBroken


def check_when_enqueued(task_class: type[Task], parameters: inspect.Signature) -> None:
    """Let ``check_arguments`` compare the arguments of tasks of a class with ``parameters``."""
    extend = task_class.extend_data

    def extend_data(self: Any, data: Any) -> None:
        self._aquila_follows = True
        extend(self, data)

    task_class._aquila_parameters = parameters
    task_class.extend_data = extend_data


def check_arguments(task: Any) -> None:
    """Raise ``TaskContractBroken`` if a task is about to be enqueued with arguments that do not fit its parameters.

    A task that follows another is not looked at: the result of that one has been added, and an error here would come
    after its end.
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
