"""The provider fails until the client gives up."""

import re

import app
import observer
import pytest
from statuses import STATUSES
from ways import each_way


@each_way("failing-{}", STATUSES)
def test_failing(way, aquila_cassette):
    name, status = way.split()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        observer.use(way, getattr(app, name), f"Fail with {status}!")
    text = re.sub(r"headers: \{.*?\}", "", str(caught.value))  # a recording keeps some, and adds to them
    observer.note(way, f"{type(caught.value).__module__}.{type(caught.value).__qualname__}: {text}")
    assert aquila_cassette.all_played
