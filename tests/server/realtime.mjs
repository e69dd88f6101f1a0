// A foreign client of the Realtime API: says each of its words, waits for the answer, and writes what it heard as JSON.
import net from "node:net";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const words = process.argv.slice(2);
// This client asks by wss, whatever its base URL says. Without TLS it has to be told how to connect.
const plain = { createConnection: ({ host, port }) => net.connect(port, host) };
const options = process.env.OPENAI_BASE_URL.startsWith("https:") ? {} : plain;
const heard = { texts: [], audio: 0, items: 0 };
const realtime = new OpenAIRealtimeWS({ model: "m", options });
const append = (bytes) =>
  realtime.send({ type: "input_audio_buffer.append", audio: Buffer.alloc(bytes, 7).toString("base64") });
let text = "";
let itemId = "";

function sayNext() {
  const word = words.shift();
  if (word === undefined) return realtime.close({ code: 1000, reason: "that is all" });
  itemId = `item_${Math.random().toString(16).slice(2)}`; // another one in each run
  const content = [{ type: "input_text", text: word }];
  realtime.send({ type: "conversation.item.create", item: { id: itemId, type: "message", role: "user", content } });
  const cut = 100 + Math.floor(Math.random() * 1000); // and so is the sound
  append(cut);
  append(3000 - cut);
  realtime.send({ type: "input_audio_buffer.commit" });
  realtime.send({ type: "response.create" });
}

realtime.on("session.created", () => {
  realtime.send({ type: "session.update", session: { type: "realtime", instructions: "be brief" } });
});
realtime.on("session.updated", sayNext);
realtime.on("conversation.item.added", (event) => (heard.items += event.item.id === itemId));
realtime.on("response.output_text.delta", (event) => (text += event.delta));
realtime.on("response.output_audio.delta", (event) => (heard.audio += Buffer.from(event.delta, "base64").length));
realtime.on("response.done", () => {
  heard.texts.push(text.trim());
  text = "";
  sayNext();
});
realtime.on("error", (error) => (heard.error ??= { message: error.message, code: error.error?.code }));
realtime.socket.on("close", (code, reason) => {
  heard.close = [code, String(reason)];
  console.log(JSON.stringify(heard));
});
