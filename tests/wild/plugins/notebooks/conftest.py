"""Notebooks take no marker themselves, so each gets its cassette here."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.aquila)
