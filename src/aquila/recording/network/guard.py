"""The guard of a test run: which requests it refuses where no cassette answers, and the error for these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.errors import LiveCallRefused
from aquila.lazy_imports import lazy_modules
from aquila.recording import askers, runtime
from aquila.recording.miss_outcomes import suit_to_place
from aquila.recording.network.host_names import DEFAULT_PORTS, is_loopback, is_own_name
from aquila.recording.network.model_hosts import asks_model, is_model_path, is_provider
from aquila.recording.network.no_network import fail_unasked
from aquila.recording.reporting import child_messages
from aquila.recording.sessions import session_factory
from aquila.settings import Settings

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.runtime import Run
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), "aquila.recording: scope as scopes")

NOTHING_ASKS = "was refused: nothing in this run asks for the network"
"""What the message says of a request without a cassette. Other refusals have other reasons."""
_FOR_JOBS = "A job uses the cassette of the test that has enqueued it.\n"
_FOR_CHILDREN = (
    "This is a child process: it uses the cassette that is open when it is started. If a fixture that tests share\n"
    "starts it, the fixture has a cassette of its own. Record it with --aquila-record.\n"
)


def check_unanswered(
    method: str, scheme: str, host: str, port: int | None, path: str, scope: Scope | None, settings: Settings
) -> None:
    """Raise for a request that no cassette answers, if the guard refuses it. ``path`` may have a query.

    ``port`` may be None for the default port of ``scheme``. ``scope`` is the scope in force, if there is one, and
    ``settings`` are those in force. Raises ``LiveCallRefused``, or ``NoNetwork`` for a request that no test made.
    """
    port = DEFAULT_PORTS.get(scheme) if port is None else port
    if is_refused(host, port, path, settings, scope):
        what = describe_request(method, scheme, host, port, path, settings)
        fail_if_unasked(what, is_for_model=asks_model(host, port, path, settings))
        raise make_refusal(refusal_message(what, scope))


def describe_request(method: str, scheme: str, host: str, port: int | None, path: str, settings: Settings) -> str:
    """Return how an error names a request, without secrets. The parameters are those of ``check_unanswered``."""
    return f"{method} {format_origin(scheme, host, port)}{_redact_path(path, settings)}"


def is_on(settings: Settings) -> bool:
    """Say whether this is a test run whose guard refuses requests, where these settings are in force."""
    return settings.guard != "off" and settings.transport != "live" and runtime.is_under_pytest()


def is_refused(host: str, port: int | None, path: str, settings: Settings, scope: Scope | None = None) -> bool:
    """Say whether the guard of a test run refuses a request that no scope answers.

    ``path`` is empty if it is not known, as for a bare socket. ``scope`` is the scope in force, which may allow hosts.
    """
    if not is_on(settings):
        return False
    if scope is not None and scope.lets_through(host):
        return False
    if is_provider(host, port, settings):
        return True
    if is_loopback(host):
        return False
    return is_model_path(path) or (refuses_all(settings) and not is_own_name(host))


def refuses_all(settings: Settings) -> bool:
    """Say whether every connection that leaves this machine is refused.

    In a sealed run the kernel refuses them; the guard refuses them first, with an error that explains it.
    """
    return settings.guard in ("all", "sealed")


def fail_if_unasked(what: str, *, is_for_model: bool) -> None:
    """Raise ``NoNetwork`` for a request that no test made. A request to a model is excepted: it must fail visibly."""
    if not is_for_model and askers.is_unasked():
        raise fail_unasked(what)


def make_refusal(message: str, *, ordinary: bool = False) -> BaseException:
    """Return the error to raise for a refused request, and note it, so that the test fails even if code swallows it.

    ``message`` is the text of the error. ``ordinary`` asks for an ordinary exception, also where an outcome of the test
    could be raised.
    """
    refusal = note_refusal(message, runtime.current_run())
    return refusal if ordinary else suit_to_place(refusal)


def note_refusal(message: str, run: Run, kind: type[LiveCallRefused] = LiveCallRefused) -> LiveCallRefused:
    """Note a refused request, so that the running test fails, in this process or in the one that has started it."""
    refusal = kind(message)
    run.remember_refusal(refusal)
    if not (run.runs_tests and run.is_here):  # a child process: the test that runs in its parent is to fail
        child_messages.messages_folder(run)
        run.state_of(child_messages.ChildMessages).tell_refusal(refusal, run.test_name)
    return refusal


def refuse_web_socket(address: str, why: str) -> BaseException:
    """Return the error to raise for a handshake that nothing can answer, and note it. ``why`` is a sentence."""
    if runtime.current_run().test_name is None:  # as in `aquila serve`
        advice = "A cassette that was recorded from the provider answers it."
    else:
        advice = "Give the test a cassette to be recorded from the provider, or mark it @pytest.mark.aquila_live."
    address = _redact_path(address, runtime.current_settings())
    return make_refusal(f"{address} was refused: {why}\n\n{advice}")


def refusal_message(what: str, scope: Scope | None) -> str:
    """Return the message for a refused request: its first line names the request; then come the test and what to do.

    ``scope`` is the scope in force, whose ``refusal_advice`` takes the place of the usual advice.
    """
    advice = (each.refusal_advice for each in ((scope, *scope.around) if scope is not None else ()))
    return (
        f"{what} {NOTHING_ASKS}\n"
        "\n"
        f"{line_of_test('none is running (something that outlived its test?)')}"
        f"{_describe_thread()}"
        "\n"
        f"{next(filter(None, advice), None) or _usual_advice(is_job=_is_of_job(scope))}"
    )


def _describe_thread() -> str:
    """Return lines that name the earlier test whose thread makes a request now, while another test runs."""
    asker = askers.find_asker() if askers.is_unasked() else None
    if asker is None or not asker.is_test:
        return ""
    # A test may hand work to a thread that an earlier one was the first to need. Its cassette then answers.
    return (
        f"  {'thread of':10} {asker.name}, which has left it running\n"
        "\n"
        "Wait for that thread before its test returns. If the running test has given it work:\n"
    )


def _is_of_job(scope: Scope | None) -> bool:
    """Whether a scope is that of a job. Only jobs and blocks bind their scope; other code finds that of its run."""
    return scope is not None and scope.kind != "block" and scopes.bound_scope.get() is scope


def _usual_advice(*, is_job: bool) -> str:
    if runtime.current_settings().guard == "sealed":
        let_it_go = (
            "This run is sealed, and has no network. To let it go, set AQUILA_GUARD=all, and mark the test\n"
            "@pytest.mark.aquila_live.\n"
        )
    else:
        let_it_go = "To let it go, mark the test @pytest.mark.aquila_live, or run with --aquila-transport=live.\n"
    return (
        "To answer it from a cassette use the fixture aquila_cassette or @pytest.mark.aquila.\n"
        f"{_FOR_JOBS if is_job else _FOR_CHILDREN if _is_child_process() else ''}"
        f"{let_it_go}"
        "The ini keys aquila_guard and aquila_ignore_hosts say what is refused."
    )


def line_of_test(otherwise: str = "none is running") -> str:
    """Return the line of a refusal that names the test. A child process may outlive the test that has started it.

    ``otherwise`` stands there if no test is known.
    """
    label = "started in" if _is_child_process() else "test"
    return f"  {label:10} {runtime.current_run().test_name or otherwise}\n"


def _is_child_process() -> bool:
    """Whether another process, which runs the tests, has started or forked this one."""
    run = runtime.current_run()
    return not run.is_here or (run.messages is not None and not run.runs_tests)


def format_address(host: str, port: int | None) -> str:
    """Return a host and its port as a URL has them."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def format_origin(scheme: str, host: str, port: int | None) -> str:
    """Return a scheme, a host and its port as a URL has them: without the port that the scheme implies."""
    return f"{scheme}://{format_address(host, None if port == DEFAULT_PORTS.get(scheme) else port)}"


def _redact_path(path: str, settings: Settings) -> str:
    """Return a path, or an address with one, without secrets: a query may hold a key."""
    return session_factory.redactor_of(settings).redact_text(path)
