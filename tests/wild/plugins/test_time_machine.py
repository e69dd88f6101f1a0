import datetime

import pytest
import time_machine
from app import ask

pytestmark = pytest.mark.aquila


@time_machine.travel(datetime.datetime(2001, 2, 3, tzinfo=datetime.UTC), tick=False)
def test_time_machine():
    assert ask(f"now it is {datetime.date.today()}") == "about now it is 2001-02-03"
