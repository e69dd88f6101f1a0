"""openai-agents: its WebSocket model, and its agent for the Realtime API."""

import hashlib

from agents import Agent, function_tool, responses_websocket_session, set_trace_processors
from agents.realtime import RealtimeAgent, RealtimeRunner

set_trace_processors([])  # nobody looks at its traces


@function_tool
def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def agent(*tools):
    return Agent(name="Ornithologist", model="gpt-5-mini", instructions="Be brief.", tools=list(tools))


async def run_async(prompt, *tools):
    async with responses_websocket_session() as session:
        first = await session.run(agent(*tools), prompt)
        second = await session.run(agent(*tools), [*first.to_input_list(), {"role": "user", "content": "And else?"}])
        return [first.final_output, second.final_output]


async def text_async(prompt):
    return await run_async(prompt)


async def tools_async(prompt):
    return await run_async(prompt, look_up)


async def stream_async(prompt):
    seen = []
    async with responses_websocket_session() as session:
        streamed = session.run_streamed(agent(look_up), prompt)
        async for event in streamed.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                seen.append(event.data.delta)
    return [*seen, streamed.final_output]


async def error_async(prompt):
    return await run_async(f"{prompt} Fail.")


async def broken_async(prompt):
    return await run_async(f"{prompt} Break off.")


async def closed_async(prompt):
    return await run_async(f"{prompt} Close.")


# Its agent for the Realtime API


LOSES_NOTHING = {"tracing_disabled": True}
"""What it says of its tracing may come before the end of a connection that breaks, or too late."""


async def converse(act, *tools, answers=1, **config):
    realtime_agent = RealtimeAgent(name="Ornithologist", instructions="Be brief.", tools=list(tools))
    runner = RealtimeRunner(realtime_agent, config=config)
    seen = []
    async with await runner.run() as session:
        await act(session)
        async for event in session:
            if event.type == "raw_model_event":
                raw = event.data
                kind = raw.data["type"] if raw.type == "raw_server_event" else raw.type
                # It traces by default, which it says whenever it has heard of its session.
                if kind != "session.updated":
                    seen.append(getattr(raw, "delta", None) or kind)
                answers -= kind == "turn_ended"
            elif event.type == "audio":
                seen.append(event.audio.data.hex())
            elif event.type in ("tool_end", "error"):
                seen.append(f"{event.type} {getattr(event, 'output', None) or event.error}")
            elif event.type != "history_updated":  # the first is its own, and comes before or after what it hears first
                seen.append(event.type)
            if not answers or event.type == "error":
                break
    # Its tool runs beside what it hears.
    return sorted(seen) if tools else seen


async def realtime_text_async(prompt):
    return await converse(lambda session: session.send_message(prompt))


async def realtime_tools_async(prompt):
    return await converse(lambda session: session.send_message(prompt), look_up, answers=2)


async def realtime_audio_async(prompt):
    sound = hashlib.shake_256(prompt.encode()).digest(9600)

    async def speak(session):
        for start in range(0, len(sound), 960):
            await session.send_audio(sound[start : start + 960])
        await session.send_audio(b"", commit=True)
        await session.model.send_event(response_create())

    return await converse(speak)


def response_create():
    from agents.realtime.model_inputs import RealtimeModelSendRawMessage

    return RealtimeModelSendRawMessage(message={"type": "response.create"})


async def realtime_error_async(prompt):
    return await converse(lambda session: session.send_message(f"{prompt} Fail."))


async def realtime_broken_async(prompt):
    return await converse(lambda session: session.send_message(f"{prompt} Break off."), **LOSES_NOTHING)


async def realtime_closed_async(prompt):
    return await converse(lambda session: session.send_message(f"{prompt} Close."), **LOSES_NOTHING)
