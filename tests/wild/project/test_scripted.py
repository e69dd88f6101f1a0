"""Each way of the client, answered by a script as the provider answers: a tool is called until the fact is known."""

import app
import observer
import pytest
from ways import PROMPT, WAYS

FACT = "it flies high"


@pytest.mark.parametrize("way", WAYS)
def test_scripted(way, aquila_script):
    aquila_script.when(FACT, tool="final_answer").tool_call("final_answer", answer="an eagle flies")
    aquila_script.when(FACT).reply("an eagle flies")
    for tool in ("look_up", "Animal", "PartialAnimal"):  # the names that instructor gives
        aquila_script.when(tool=tool).tool_call(tool, animal="eagle")
    aquila_script.reply("an eagle flies").embed([0.5] * 4)
    aquila_script.unused = "ignore"
    observer.use(way, getattr(app, way), PROMPT)
