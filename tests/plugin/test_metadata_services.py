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


def test_without_a_recording_it_fails_as_on_a_machine_outside_of_clouds(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*To record*")


ANSWERED = """
    status: 200
    headers: {metadata-flavor: Google}
    body: ok
"""
UNANSWERED = """
    end: broken
    error: 'ConnectError: [Errno 113] No route to host'
"""


@pytest.mark.parametrize(
    ("recorded", "path", "says"),
    [
        (ANSWERED, "", "200"),
        (ANSWERED, "new", "*CassetteMiss: * holds no GET http://169.254.169.254/new*"),
        (UNANSWERED, "", "*No route to host*"),
        (UNANSWERED, "new", "*Temporary failure in name resolution*"),
    ],
    ids=["asked again", "asked otherwise", "not answered", "not answered, and asked otherwise"],
)
def test_only_a_service_that_answered_while_recording_can_be_missed(
    recorded: str, path: str, says: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_cloud=f"""
        import urllib.error, urllib.request

        def test_it(aquila_cassette):
            try:
                print(urllib.request.urlopen("http://169.254.169.254/{path}").status)
            except urllib.error.URLError as error:
                print(error)
        """
    )
    cassette = pytester.path / "cassettes" / "test_cloud" / "test_it.yaml"
    cassette.parent.mkdir(parents=True)
    cassette.write_text(
        f"""\
aquila: 1
interactions:
- request: {{method: GET, url: 'http://169.254.169.254/'}}
  recorded: {{at: 2026-11-26T15:53:30Z, started: 23, ended: 24}}
  upstream: live
  response:{recorded}...
""",
        "utf-8",
    )
    pytester.runpytest_inprocess("-s").stdout.fnmatch_lines([f"*{says}*"])
