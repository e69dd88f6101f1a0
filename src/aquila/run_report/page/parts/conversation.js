// Draws a conversation. Its text is never read as markup, and keeps its white space.

function bytesOf(base64) {
  const raw = atob(base64);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return bytes;
}

// Browsers cannot play bare samples, so a WAVE header is added that says what they are.
function asWave(bytes, media) {
  if (!/^audio\/(pcm|l16|raw)/i.test(media)) return [bytes, media];
  const rate = Number((/rate=(\d+)/.exec(media) || [])[1]) || 24_000;
  const head = new DataView(new ArrayBuffer(44));
  const put = (at, text) => [...text].forEach((one, index) => head.setUint8(at + index, one.charCodeAt(0)));
  put(0, "RIFF"); head.setUint32(4, 36 + bytes.length, true); put(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, rate * 2, true); head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  put(36, "data"); head.setUint32(40, bytes.length, true);
  return [new Blob([head, bytes]), "audio/wav"];
}

// The addresses of the blobs on the page. They are revoked when another test is opened.
const shownBlobs = [];
function blobOf(data, media) {
  const address = URL.createObjectURL(new Blob([data], { type: media }));
  shownBlobs.push(address);
  return address;
}
function forgetBlobs() {
  for (const address of shownBlobs.splice(0)) URL.revokeObjectURL(address);
}

function drawPart(part, data) {
  const body = part.body && data.body(part.body.key);
  const media = part.media_type || (body && body.media) || "";
  const facts = [part.name, media, part.body && tellSize(part.body.size)].filter(Boolean).join(" \u00b7 ");
  const label = make("figcaption", null, make("b", null, part.kind), facts && ` ${facts}`, body && body.cut ? ` \u00b7 ${tellSize(Number(body.cut))} left out` : null);
  let shown = null;
  try {
    if (body && body.kind === "base64" && part.kind === "image") {
      shown = make("img", { src: blobOf(bytesOf(body.value), media || "image/png"), alt: part.name || "an image of the conversation", decoding: "async" });
      shown.addEventListener("error", () => shown.replaceWith(make("p", { class: "quiet" }, "This browser cannot show the image.")));
    } else if (body && body.kind === "base64" && part.kind === "audio") {
      shown = make("audio", { controls: true, preload: "metadata", src: blobOf(...asWave(bytesOf(body.value), media)) });
    } else if (body && body.kind === "text") {
      shown = makeText(body.value, { class: "data" }, 2000);
    } else if (part.url) {
      shown = make("code", { class: "address" }, cutText(part.url, 2000));
    }
  } catch {
    shown = make("p", { class: "quiet" }, "Its bytes cannot be read.");
  }
  return make("figure", { class: `part ${part.kind}` }, shown, label);
}

function prettyJson(text) {
  const value = text.length > 5_000_000 ? undefined : tryJson(text);
  return value === undefined || typeof value === "string" ? text : JSON.stringify(value, null, 2);
}

function drawToolCall(call, data) {
  const { result } = call, written = prettyJson(data.text(call.arguments));
  return make("div", { class: "call" },
    make("div", { class: "call-side" }, make("p", { class: "call-name" }, make("b", null, call.name), make("span", { class: "quiet" }, call.id || "")),
      makeText(written, { class: "data" }, 3000)),
    make("div", { class: "call-side" }, make("p", { class: "call-name quiet" }, result === undefined ? "no result in this test" : "result"),
      result === undefined ? null : makeText(prettyJson(data.text(result)), { class: "data" }, 3000)));
}

const ROLES = { system: "system", developer: "system", user: "user", assistant: "assistant", model: "assistant", tool: "tool", function: "tool" };

function drawMessage(message, data) {
  const kind = ROLES[message.role] || "other";
  const content = make("div", { class: "said" });
  if (message.reasoning !== undefined) {
    content.append(fold("Reasoning", () => makeText(data.text(message.reasoning), { class: "text quiet" }), { class: "reasoning" }));
  }
  if (message.text !== undefined) content.append(makeText(data.text(message.text), { class: "text" }));
  for (const part of message.parts || []) content.append(drawPart(part, data));
  for (const call of message.tool_calls || []) content.append(drawToolCall(call, data));
  if (!content.childNodes.length) content.append(make("p", { class: "quiet" }, "(nothing)"));
  return make("div", { class: `message ${kind}` }, make("div", { class: "role" }, message.role, message.tool_call_id && make("span", { class: "quiet" }, message.tool_call_id)), content);
}

// A text that is equal for equal messages, to find those that were shown before.
const printOf = (message) =>
  JSON.stringify([ROLES[message.role] || message.role, message.text, (message.tool_calls || []).map((call) => [call.name, call.arguments]), message.tool_call_id, (message.parts || []).length]);

// The conversation of one request. Messages that an earlier request of the test has shown are folded. Results of tools
// are shown beside their calls, and not as messages.
function drawConversation(exchange, earlier, data) {
  const told = exchange.messages || [], answer = exchange.answer || [];
  const beside = new Set();
  for (const message of [...told, ...answer]) {
    for (const call of message.tool_calls || []) if (call.id !== undefined) beside.add(call.id);
  }
  const isBeside = (message) => message.tool_call_id !== undefined && beside.has(message.tool_call_id) && !(message.parts || []).length;
  let known = 0;
  while (known < told.length && known < earlier.length && printOf(told[known]) === earlier[known]) known++;
  const draw = (message) => drawMessage(message, data);
  const box = make("div", { class: "conversation" });
  const old = told.slice(0, known).filter((one) => !isBeside(one));
  if (old.length) {
    box.append(fold(`${tellCount(old.length, "message")} as before`, () => old.map(draw), { class: "earlier" }));
  }
  const fresh = told.slice(known).filter((one) => !isBeside(one));
  box.append(...makeList(make("div", { class: "messages" }), fresh, draw, 60));
  if (answer.length) box.append(make("div", { class: "messages answer" }, answer.map(draw)));
  else if (exchange.kind !== "websocket") box.append(make("p", { class: "none quiet" }, exchange.error ? `No answer: ${exchange.error}` : "No answer"));
  return { box, shown: [...told, ...answer].map(printOf) };
}
