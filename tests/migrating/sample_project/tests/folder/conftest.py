import pytest


@pytest.fixture(scope="session")
def vcr_config():
    return {"match_on": ["method", "path"], "record_mode": "none"}


@pytest.fixture(scope="module")
def vcr_cassette_dir(request):
    return str(request.path.parent / "kept")
