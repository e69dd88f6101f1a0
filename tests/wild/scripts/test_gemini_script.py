"""google-genai, answered by a script: at Google AI, and at Google's cloud."""

import pytest
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.genai import errors, types
from heard import Heard, cases, check, run

MODEL = "gemini-2.5-flash"
FINISHES = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "PROHIBITED_CONTENT",
}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def heard_in(chunks):
    """Put the chunks of a stream together, or read the only one of an answer that is whole."""
    texts, thoughts, calls, refusals, finishes = [], [], [], [], []
    for chunk in chunks:
        assert chunk.model_version == MODEL
        if chunk.prompt_feedback:
            refusals.append(chunk.prompt_feedback.block_reason_message)
            finishes.append(chunk.prompt_feedback.block_reason.value)
        for candidate in chunk.candidates or ():
            if candidate.finish_reason:
                finishes.append(candidate.finish_reason.value)
            for part in candidate.content.parts or ():
                if part.function_call:
                    calls.append((part.function_call.name, part.function_call.args))
                else:
                    (thoughts if part.thought else texts).append(part.text)
    (finish,) = finishes
    usage = chunks[-1].usage_metadata
    assert all(chunk.usage_metadata.prompt_token_count == usage.prompt_token_count for chunk in chunks)
    told = (usage.prompt_token_count, usage.candidates_token_count)
    return Heard("".join(texts), tuple(calls), "".join(thoughts), "".join(refusals), finish, told)


def whole(contents="Hi!"):
    with genai.Client() as client:
        return heard_in([client.models.generate_content(model=MODEL, contents=contents)])


def streamed(contents="Hi!"):
    with genai.Client() as client:
        return heard_in(list(client.models.generate_content_stream(model=MODEL, contents=contents)))


def whole_async(contents="Hi!"):
    async def ask():
        async with genai.Client().aio as client:
            return await client.models.generate_content(model=MODEL, contents=contents)

    return heard_in([run(ask())])


def streamed_async(contents="Hi!"):
    async def ask():
        async with genai.Client().aio as client:
            return [
                chunk async for chunk in await client.models.generate_content_stream(model=MODEL, contents=contents)
            ]

    return heard_in(run(ask()))


def cloud():
    return genai.Client(vertexai=True, project="a-project", location="us-central1", credentials=CREDENTIALS)


CREDENTIALS = AnonymousCredentials()
CREDENTIALS.token = "none"


def at_cloud():
    with cloud() as client:
        return heard_in([client.models.generate_content(model=MODEL, contents="Hi!")])


def at_cloud_streamed():
    with cloud() as client:
        return heard_in(list(client.models.generate_content_stream(model=MODEL, contents="Hi!")))


@cases(whole, streamed, whole_async, streamed_async, at_cloud, at_cloud_streamed)
def test_answers(aquila_script, case, ask):
    check(aquila_script, case, ask, FINISHES)
    assert aquila_script.requests[0].model == MODEL


@pytest.mark.parametrize("ask", [whole, streamed, whole_async, streamed_async])
@pytest.mark.parametrize("status", STATUSES)
def test_errors(aquila_script, status, ask):
    aquila_script.error(status, "Too bad", retry_after=47)
    with pytest.raises(errors.ClientError if status < 500 else errors.ServerError) as caught:
        ask()
    error = caught.value
    assert (error.code, error.status, error.message) == (status, STATUSES[status], "Too bad")
    (detail,) = error.details["error"]["details"]
    assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "47s"}


def test_the_error_of_an_answer_without_a_type_of_its_own_is_unknown(aquila_script):
    aquila_script.error(418, code="TEAPOT")
    with pytest.raises(errors.ClientError) as caught:
        whole()
    assert caught.value.status == "UNKNOWN"
    assert caught.value.details["error"]["details"][0]["reason"] == "TEAPOT"


def test_functions_are_called_by_the_client_itself(aquila_script):
    def look_up(animal: str) -> str:
        """Looks an animal up."""
        return f"the {animal} flies"

    aquila_script.tool_calls(("look_up", {"animal": "eagle"}), ("look_up", {"animal": "owl"})).reply("Both fly.")
    with genai.Client() as client:
        config = types.GenerateContentConfig(tools=[look_up], system_instruction="Be brief.")
        assert client.models.generate_content(model=MODEL, contents="Hi!", config=config).text == "Both fly."
    read = aquila_script.requests[1]
    assert [(each.role, each.text) for each in read.messages] == [
        ("system", "Be brief."),
        ("user", "Hi!"),
        ("assistant", ""),
        ("tool", "the eagle flies"),
        ("tool", "the owl flies"),
    ]
    called = read.messages[2].tool_calls
    assert [(call.name, call.arguments) for call in called] == [
        ("look_up", {"animal": name}) for name in ("eagle", "owl")
    ]
    assert [(tool.name, tool.description) for tool in read.tools] == [("look_up", "Looks an animal up.")]


def test_a_chat_goes_on(aquila_script):
    aquila_script.reply("One.").reply("Two.")
    with genai.Client() as client:
        chat = client.chats.create(model=MODEL)
        assert "".join(chunk.text for chunk in chat.send_message_stream("Hi!")) == "One."
        assert chat.send_message("And?").text == "Two."
    assert [each.text for each in aquila_script.requests[1].messages] == ["Hi!", "One.", "And?"]


def test_a_json_answer_is_parsed(aquila_script):
    aquila_script.reply(json={"animal": "eagle"})
    with genai.Client() as client:
        config = {"response_mime_type": "application/json", "response_schema": {"type": "OBJECT"}}
        answer = client.models.generate_content(model=MODEL, contents="Hi!", config=config)
    assert answer.parsed == {"animal": "eagle"}


@pytest.mark.parametrize("make", [genai.Client, cloud])
def test_embeddings_counts_and_models(aquila_script, make):
    aquila_script.embed([0.5, 1.0], [2.0]).token_count(7).models("gemini-a", "gemini-b").models("gemini-a").models("a")
    client = make()
    model = "gemini-embedding-001" if make is genai.Client else "text-embedding-005"
    given = client.models.embed_content(model=model, contents=["x", "y", "z"])
    assert [each.values for each in given.embeddings] == [[0.5, 1.0], [2.0], [2.0]]
    assert client.models.count_tokens(model=MODEL, contents="Hi!").total_tokens == 7
    assert [model.name.rpartition("/")[2] for model in client.models.list()] == ["gemini-a", "gemini-b"]
    assert client.models.get(model="gemini-a").name.endswith("models/gemini-a")
    with pytest.raises(errors.ClientError, match="gemini-b"):
        client.models.get(model="gemini-b")
    assert [each.text for each in aquila_script.requests[0].messages] == ["x", "y", "z"]


def test_embeddings_counts_and_models_async(aquila_script):
    aquila_script.embed([0.5]).token_count(7).models("gemini-a")

    async def ask():
        async with genai.Client().aio as client:
            given = await client.models.embed_content(model="gemini-embedding-001", contents="x")
            count = await client.models.count_tokens(model=MODEL, contents="Hi!")
            return given, count, [model.name async for model in await client.models.list()]

    given, count, models = run(ask())
    assert ([each.values for each in given.embeddings], count.total_tokens, models) == ([[0.5]], 7, ["models/gemini-a"])
