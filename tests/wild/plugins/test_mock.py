import app


def test_spy(mocker, aquila_cassette):
    spy = mocker.spy(app, "ask")
    assert app.ask("mock") == "about mock"
    spy.assert_called_once_with("mock")
