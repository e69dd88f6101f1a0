"""A redaction rule of the user's that raises keeps no job from being executed and published."""

import threading

import pytest

from aquila import plugins
from aquila.hookspecs import hookimpl
from aquila.huey.live import redacting, subscribe
from aquila.huey.tasks.running_task import current_task
from tests.huey.live.conftest import consumer


class Rules:
    @hookimpl
    def aquila_redactors(self):
        return [self.redact]

    def redact(self, text):
        # On the main thread pytest redacts its own reports by this rule.
        if "eagle" in text and threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a defect of the rule")
        return text


@pytest.fixture(autouse=True)
def rules():
    plugin = plugins.register(Rules())
    yield
    plugins.unregister(plugin)


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
def test_a_rule_that_raises_for_a_text_keeps_no_job_from_being_published(published, fails):
    huey = published()

    @huey.task()
    def write(topic):
        huey.publisher.note_text(current_task(), "text", f"About an {topic} that flies.")
        if fails:
            raise ValueError(f"no {topic}")

    first, second = write("eagle"), write("owl")
    with consumer(huey):
        events = [list(subscribe(huey, result, timeout=20)) for result in (first, second)]
    assert [found[-1].kind for found in events] == ["failed" if fails else "done"] * 2
    hidden, shown = ([event.data["text"] for event in found if event.kind == "text"] for found in events)
    assert hidden[0] == "<text that cannot be shown>"
    assert "".join(shown) == "About an owl that flies."
    assert "eagle" not in str(events[0][1:])  # The first one was made on the main thread.


def test_values_for_which_a_rule_raises_are_not_shown():
    shown = []
    thread = threading.Thread(target=lambda: shown.append(redacting.describe_values({"bird": "eagle"})))
    thread.start()
    thread.join()
    assert shown == ["<arguments that cannot be shown>"]
