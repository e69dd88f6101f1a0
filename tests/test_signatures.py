"""Functions whose annotations name what only type checkers import, as Python allows since 3.14."""

import sys
from typing import TYPE_CHECKING

import pytest

import aquila
from aquila.huey import MemoryHuey
from aquila.huey.testing import perform_job

if TYPE_CHECKING:
    from decimal import Decimal

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="Python computes annotations at once before 3.14")


@pytest.mark.parametrize("settings", [{}, {"unique": True}])
def test_a_task_is_performed_whose_annotations_cannot_be_computed(settings):
    huey = MemoryHuey("jobs")

    @huey.task(**settings)
    def digest(text, kind: Decimal | None = None):
        return text

    assert perform_job(digest, "The harbour ...").value == "The harbour ..."


def test_a_tool_with_a_schema_by_hand_needs_no_annotations():
    def look_up(kind: Decimal | None = None):
        return "closed"

    aquila.Tool(name="look_up", description="", parameters={"type": "object", "properties": {}}, function=look_up)
