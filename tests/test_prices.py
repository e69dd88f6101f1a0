"""Tables of the prices of models."""

import datetime

import pytest

from aquila.errors import ConfigError
from aquila.events import Usage
from aquila.prices import Price, PriceTable, read_prices

ENTRY = {"model": "small*", "input": 1.0, "output": 4.0, "as_of": datetime.date(2026, 11, 1), "source": "a test"}
FILE = """
[[price]]
model = "small*"
input = 1.0
cached_input = 0.1
output = 4
as_of = 2026-11-01
source = "https://provider.example/pricing"

[[price]]
model = "small-old"
input = 2
output = 8
currency = "EUR"
as_of = 2025-01-01
source = "an invoice"
"""


def test_a_file_is_read_and_the_most_exact_name_counts(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(FILE)
    table = read_prices(path)
    assert table("small-new", Usage(input_tokens=1_000_000, output_tokens=500_000)) == 3.0
    assert table("SMALL-new", Usage(input_tokens=1_000_000, cached_tokens=500_000)) == pytest.approx(0.55)
    assert table.find("small-old").currency == "EUR"
    assert table.find("large") is None
    with pytest.raises(ConfigError, match=r"no price for the model 'large': add it .*\[\[price\]\]"):
        table("large", Usage())
    assert table("small-new", Usage(input_tokens=1_000_000, cached_tokens=9_000_000)) == pytest.approx(0.1)
    assert read_prices(table) is table
    assert read_prices([Price(**ENTRY)]).find("small") == Price(**ENTRY)
    assert isinstance(read_prices({"price": [ENTRY]}), PriceTable)


def test_an_exact_name_counts_first_and_then_the_longest_pattern():
    names = ["*", "small-model-*", "small*", "small-model-7", "small-*"]
    table = PriceTable(Price(**{**ENTRY, "model": name}) for name in names)
    asked = ["small-model-7", "small-model-8", "small-9", "smaller", "large"]
    assert [table.find(name).model for name in asked] == ["small-model-7", "small-model-*", "small-*", "small*", "*"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inptu": 1}, "price 1: there is no field 'inptu'.*input"),
        ({"source": None}, "source is a text, not None"),
        ({"input": -1}, "input is a number from 0, not -1"),
        ({"output": True}, "output is a number from 0, not True"),
        ({"as_of": "today"}, "as_of is a day such as 2026-11-01"),
        ({"currency": "dollars"}, "currency is a code such as USD"),
    ],
)
def test_a_mistake_is_named_with_its_place(change, said):
    with pytest.raises(ConfigError, match=said):
        read_prices({"price": [{**ENTRY, **change}]})


@pytest.mark.parametrize("missing", ["model", "input", "output", "as_of", "source"])
def test_a_missing_field_is_named(missing):
    entry = {name: value for name, value in ENTRY.items() if name != missing}
    with pytest.raises(ConfigError, match=f"the prices, price 1: {missing} is missing"):
        read_prices({"price": [entry]})


def test_other_values_than_a_table_are_refused(tmp_path):
    for given in (
        {},
        {"price": ENTRY},
        {"price": [ENTRY], "x": 1},
        {"price": ["x"]},
        [1],
        1,
        Price(**ENTRY),
        tmp_path / "none.toml",
    ):
        with pytest.raises(ConfigError):
            read_prices(given)
