"""A client that finds no credentials asks the metadata service of a cloud: without a recording there is none."""

from __future__ import annotations

import pytest

TEST = """
    import urllib.error, urllib.request
    import pytest

    @pytest.mark.parametrize("address", ["169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal"])
    def test_it(address, aquila_cassette):
        with pytest.raises(urllib.error.URLError, match="Temporary failure in name resolution"):
            urllib.request.urlopen(f"http://{address}/")
"""


def test_where_nothing_is_recorded_it_fails_as_on_a_machine_of_no_cloud(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*To record*")


def test_what_a_machine_of_a_cloud_has_recorded_is_replayed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_cloud="""
        import urllib.request

        def test_it(aquila_cassette):
            assert urllib.request.urlopen("http://169.254.169.254/").status == 200
        """
    )
    cassette = pytester.path / "cassettes" / "test_cloud" / "test_it.yaml"
    cassette.parent.mkdir(parents=True)
    cassette.write_text(
        """\
aquila: 1
interactions:
- request: {method: GET, url: 'http://169.254.169.254/'}
  recorded: {at: 2026-11-26T15:53:30Z, started: 23, ended: 24}
  upstream: live
  response:
    status: 200
    headers: {metadata-flavor: Google}
    body: ok
...
""",
        "utf-8",
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
