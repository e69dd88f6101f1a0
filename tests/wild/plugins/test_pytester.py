import pytest
from app import ask

pytest_plugins = ["pytester"]

INNER = """
import pytest
from app import ask

@pytest.fixture(scope="session")
def shared():
    return ask("inner shared")

def test_inner(shared, aquila_cassette):
    assert ask("inner") == "about inner"
"""


@pytest.mark.aquila
def test_run_within_the_run(pytester):
    assert ask("outer before")
    pytester.makepyfile(INNER)
    for arguments in (["--aquila-record", "--aquila-upstream=inner_provider:transport"], []):
        pytester.makepyfile(
            inner_provider="""
            import httpx2

            def transport():
                message = {"choices": [{"message": {"content": "about inner"}}]}
                return httpx2.MockTransport(lambda request: httpx2.Response(200, json=message))
            """
        )
        pytester.syspathinsert()
        inner = pytester.runpytest_inprocess("-p", "aquila", "-p", "no:randomly", "-p", "no:django", *arguments)
        inner.assert_outcomes(passed=1)
    assert ask("outer after") == "about outer after"
