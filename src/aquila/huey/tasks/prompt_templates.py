"""Templates of prompts, whose fields are the parameters of a task."""

from __future__ import annotations

import inspect
import keyword
import string
from collections.abc import Callable, Iterator
from typing import Any

from aquila.errors import ConfigError
from aquila.huey.tasks.task_wrapper import HUEY_OPTIONS

_BRACES = "Write {{ and }} for braces that are text"


def function_of_template(prompt: str, name: str, module: str) -> Callable[..., str]:
    """Return a function whose parameters are the fields of a template, and which returns the filled template.

    ``name`` is that of the task, ``module`` the one that declares it. Raises ``ConfigError`` for fields that cannot be
    parameters.
    """
    fields: list[str] = []
    try:
        found = list(_iterate_fields(prompt))
    except ValueError as error:  # a single brace
        raise ConfigError(f"{name}: the prompt is no template: {error}. {_BRACES}") from None
    for field in found:
        root = field.split(".")[0].split("[")[0]
        if not root.isidentifier() or keyword.iskeyword(root):
            raise ConfigError(f"{name}: the field {{{field}}} of the prompt is no name of a parameter. {_BRACES}")
        if root in HUEY_OPTIONS:
            raise ConfigError(
                f"{name}: the field {{{root}}} of the prompt has the name of an argument that Huey takes for itself, "
                f"so the prompt would never get it. Give it another name: {{the_{root}}}"
            )
        if root not in fields:
            fields.append(root)
    signature = inspect.Signature([inspect.Parameter(each, inspect.Parameter.POSITIONAL_OR_KEYWORD) for each in fields])

    def fill(*args: Any, **kwargs: Any) -> str:
        return prompt.format(**signature.bind(*args, **kwargs).arguments)

    fill.__signature__ = signature  # type: ignore[attr-defined]
    fill.__module__ = module
    fill.__doc__ = prompt
    return fill


def _iterate_fields(template: str) -> Iterator[str]:
    for _, field, form, _ in string.Formatter().parse(template):
        if field is not None:
            yield field
            yield from _iterate_fields(form or "")  # It may have fields, too: {price:.{digits}f}.
