"""websocket-client: a connection, and an application of callbacks, against the Realtime API."""

import json
import os

import websocket

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def headers():
    return [f"Authorization: Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"]


def turn(prompt):
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}
    return [json.dumps({"type": "conversation.item.create", "item": item}), json.dumps({"type": "response.create"})]


def told(seen, message):
    event = json.loads(message)
    seen.append(event.get("delta") or event["type"])
    return event["type"] in ("response.done", "error")


def talk(*prompts, url=URL):
    seen = []
    connection = websocket.create_connection(url, header=headers())
    try:
        for prompt in prompts:
            for message in turn(prompt):
                connection.send(message)
            while message := connection.recv():
                if told(seen, message):
                    break
            else:
                seen.append("the end")
    finally:
        connection.close()
    return seen


def text(prompt):
    return talk(prompt, "And what else?")


def error(prompt):
    return talk(f"{prompt} Fail.", "And now?")


def broken(prompt):
    return talk(f"{prompt} Break off.")


def closed(prompt):
    return talk(f"{prompt} Close.")


def refused(prompt):
    try:
        return talk(prompt, url=f"{URL}-refused")
    except websocket.WebSocketBadStatusException as error:
        return f"{error.status_code}: {error.resp_body.decode()}"  # its text has header fields, the date among them


# The application


def run_application(prompt):
    seen = []

    def opened(app):
        for message in turn(prompt):
            app.send(message)

    def heard(app, message):
        if told(seen, message):
            app.close()

    def ended(app, code, reason):
        seen.append(f"closed with {code}: {reason}")

    def failed(app, error):
        seen.append(f"{type(error).__name__}: {error}")

    app = websocket.WebSocketApp(
        URL, header=headers(), on_open=opened, on_message=heard, on_close=ended, on_error=failed
    )
    seen.append(app.run_forever())
    return seen


def application_text(prompt):
    return run_application(prompt)


def application_broken(prompt):
    return run_application(f"{prompt} Break off.")


def application_closed(prompt):
    return run_application(f"{prompt} Close.")
