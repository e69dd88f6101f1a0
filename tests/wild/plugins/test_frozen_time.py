import datetime

import pytest
from app import ask
from freezegun import freeze_time

pytestmark = pytest.mark.aquila


@freeze_time("2001-02-03")
def test_freezegun():
    assert ask(f"today is {datetime.date.today()}") == "about today is 2001-02-03"
