"""Wrong uses of the public functions. Type checkers must refuse each marked line, and no other."""

from __future__ import annotations

from pydantic import BaseModel

import aquila
from aquila import research
from aquila.testing import Faults, MarkerOptions, Script, UsedCasette, UsedCassette  # wrong: UsedCassette


class City(BaseModel):
    name: str


class Country(BaseModel):
    name: str


aquila.ask(42)  # wrong: a number is no prompt
aquila.ask(b"Hi")  # wrong: bytes are no prompt
aquila.ask([1, 2])  # wrong: numbers are no messages
aquila.ask(("user", 5))  # wrong: a number is no content
aquila.Message("user", 5)  # wrong: a number is no content
aquila.Message("user", ["Hi", 5])  # wrong: a number is no part
aquila.Message("usr", "Hi")  # wrong: user
aquila.Message("user", txt="Hi")  # wrong: content
aquila.ask("Hi", temprature=1)  # wrong: no such option
aquila.ask("Hi", temperature="hot")  # wrong: a number
aquila.ask("Hi", max_completion_tokens=5)  # wrong: max_output_tokens is its name
aquila.ask("Hi", endpoint="completions")  # wrong: chat or responses
aquila.ask("Hi", stop=5)  # wrong: text or texts
aquila.ask("Hi", model=5)  # wrong: text
aquila.ask("Hi", user=5)  # wrong: text
aquila.ask("Hi", text="low")  # wrong: a mapping
aquila.ask("Hi", max_tool_calls="3")  # wrong: a number
aquila.ask("Hi", tool_choice=5)  # wrong: a word or a mapping
aquila.ask("Hi", instructions=5)  # wrong: text
aquila.ask("Hi", max_retries="2")  # wrong: a number
aquila.ask("Hi", cassette=5)  # wrong: a name
aquila.ask("Hi", tools=["web_serch"])  # wrong: no such built-in tool
aquila.ask("Hi", tools="web_search")  # wrong: a list
aquila.ask("Hi", metadata=[("job", 7)])  # wrong: a mapping
aquila.ask("Hi", timeout="5s")  # wrong: a number or Timeouts
aquila.ask("Hi", transport=5)  # wrong: a name or a transport
aquila.ask("Hi", sink=print)  # wrong: a sink
aquila.ask("Hi", truncation="always")  # wrong: auto or disabled
aquila.ask("Hi", response_format=City(name="Ulm"))  # wrong: the class
aquila.ask("Hi", response_format=int)  # wrong: a pydantic model
print(aquila.ask("Hi").parsed.name)  # wrong: nothing was to be parsed
print(aquila.ask("Hi", response_format=City).parsed.name)  # wrong: None where the model refused
print(aquila.ask("Hi", response_format=City).text.name)  # wrong: text has no name
FORGOTTEN: aquila.Response[City] = aquila.ask("Hi")  # wrong: nothing says that a City is to be parsed
A_DICT: aquila.Response[City] = aquila.ask("Hi", response_format={"type": "text"})  # wrong: nothing is parsed
OTHER: aquila.Response[City] = aquila.ask("Hi", response_format=Country)  # wrong: another model
aquila.ask("Hi", response_format=City, temprature=1)  # wrong: no such option
aquila.ask("Hi", response_format=City, temperature="hot")  # wrong: a number
STREAM: aquila.Stream[City] = aquila.stream("Hi")  # wrong: nothing says that a City is to be parsed
ASYNC_STREAM: aquila.AsyncStream[City] = aquila.astream("Hi")  # wrong: nothing says that a City is to be parsed
aquila.stream("Hi", temprature=1)  # wrong: no such option
print(aquila.stream("Hi").parsed)  # wrong: it is on the response
aquila.stream(42)  # wrong: a number is no prompt
aquila.cancel_response(17)  # wrong: an id or a response
aquila.retrieve_response(17)  # wrong: an id or a response
aquila.retrieve_response("resp_1", temperature=0)  # wrong: no option of a stored answer
aquila.transcribe("a.wav", response_format="mp3")  # wrong: no such format
aquila.transcribe("a.wav", raw="yes")  # wrong: True or False
aquila.transcribe(17)  # wrong: a path or bytes
aquila.aks("Hi")  # wrong: no such function
research.result("resp_1", poll_interval="often")  # wrong: a number
research.create(42)  # wrong: a number is no prompt
research.create("Hi", temprature=1)  # wrong: no such option
RESEARCH: aquila.Response[City] = research.create("Hi")  # wrong: nothing says that a City is to be parsed
RESEARCHED: aquila.Stream[City] = research.stream("Hi")  # wrong: nothing says that a City is to be parsed
aquila.use_cassette("a", transprt="record")  # wrong: no such setting
aquila.use_cassette("a", record="always")  # wrong: missing or all
aquila.use_cassette(17)  # wrong: a name
aquila.use_cassette("a", ignore=5)  # wrong: paths
aquila.http_client(cassette=5)  # wrong: a name
aquila.http_client(timeout="5s")  # wrong: a number
aquila.http_client(verify=False)  # wrong: it would have no effect
print(UsedCasette, aquila.cassettes.Casette)  # wrong: Cassette
MARKED: MarkerOptions = {"guard": "everything"}  # wrong: providers, all or off
aquila.file(url=5)  # wrong: text
aquila.image(5)  # wrong: a path or bytes
aquila.Timeouts(totl=5)  # wrong: total
PART: aquila.Part = "a text"  # wrong: text is content by itself
aquila.image_url("https://example.org/x.png", detail="tiny")  # wrong: low, high or auto


def faults(aquila_faults: Faults) -> None:
    aquila_faults.overloded()  # wrong: no such fault
    aquila_faults.overloaded(times="2")  # wrong: a number
    aquila_faults.rate_limit(5, "seconds")  # wrong: by its name


def fixtures(aquila_cassette: UsedCassette, aquila_script: Script) -> None:
    print(aquila_cassette.all_playd)  # wrong: all_played
    aquila_script.reply(5)  # wrong: text
    aquila_script.reply("Hi", usge={})  # wrong: usage


async def asynchronous() -> None:
    await aquila.aask("Hi", temprature=1)  # wrong: no such option
    print(aquila.aask("Hi").text)  # wrong: not awaited
    forgotten: aquila.Response[City] = await aquila.aask("Hi")  # wrong: nothing says that a City is to be parsed
    print(forgotten)
    aquila.astream("Hi", temperature="hot")  # wrong: a number
    started: aquila.Response[City] = await research.acreate("Hi")  # wrong: nothing says that a City is to be parsed
    told: aquila.AsyncStream[City] = research.astream("Hi")  # wrong: nothing says that a City is to be parsed
    print(started, told)
