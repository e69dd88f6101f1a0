// Draws one request and its answer: the conversation, what differs from the recording, and the raw bodies.

function drawHeaders(headers) {
  if (!headers || !headers.length) return make("p", { class: "quiet" }, "No headers.");
  return make("dl", { class: "headers" }, headers.map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, cutText(String(value), 4000)))));
}

// The events of a stream, a line for each.
function drawEvents(text) {
  const events = text.split(/\r?\n\r?\n/).filter((one) => one.trim());
  const list = make("ol", { class: "events" });
  return makeList(list, events, (event, at) => {
    const lines = event.split(/\r?\n/);
    const name = lines.filter((line) => line.startsWith("event:")).map((line) => line.slice(6).trim()).join(" ");
    const content = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, "")).join("\n") || event;
    return make("li", null, make("span", { class: "event-number" }, at + 1), name && make("b", null, name), make("code", null, cutText(content, 2000)));
  }, 200);
}

function drawBody(text, data) {
  if (text === undefined) return make("p", { class: "quiet" }, "No body.");
  const found = data.find(text);
  const cut = found.cut ? make("p", { class: "quiet" }, `${tellSize(Number(found.cut))} were left out for their size.`) : null;
  if (found.kind !== "text") {
    return [cut, make("p", { class: "quiet" }, `${found.media || "Bytes"}, ${tellSize(found.size)}`), makeText(found.value, { class: "data" }, 1000)];
  }
  if (/^(event|data|id|retry):/m.test(found.value.slice(0, 200))) return [cut, drawEvents(found.value)];
  return [cut, makeText(prettyJson(found.value), { class: "data" })];
}

function tellFrame(text) {
  const value = text.length < 2_000_000 ? tryJson(text) : undefined;
  if (value && typeof value === "object" && !Array.isArray(value)) {
    const kind = value.type || Object.keys(value)[0] || "";
    const said = ["delta", "transcript", "text"].map((key) => value[key]).find((one) => typeof one === "string" && one.length < 200);
    return [make("b", null, String(kind)), said ? ` ${said}` : ""];
  }
  return [text.slice(0, 120)];
}

function drawFrames(exchange, data) {
  const list = make("ol", { class: "frames" });
  const draw = (frame) => {
    const isSent = frame.direction === "sent";
    const found = data.find(frame.body);
    const summary = found.kind === "text" ? tellFrame(found.value) : [`${tellSize(found.size)} of bytes`];
    const head = [make("span", { class: "frame-way" }, isSent ? "\u2191 sent" : "\u2193 received"), make("span", { class: "number quiet" }, tellTime(frame.at)), make("span", { class: "frame-what" }, summary)];
    return make("li", { class: isSent ? "sent" : "received" }, fold(head, () => drawBody(frame.body, data)));
  };
  const left = exchange.frames_left_out ? make("p", { class: "quiet" }, `${tellCount(exchange.frames_left_out, "frame")} more were left out for their size.`) : null;
  return make("section", { class: "socket", "aria-label": "Frames" }, make("h4", null, tellCount(exchange.frames.length, "frame"), make("span", { class: "quiet" }, "in both directions")),
    makeList(list, exchange.frames, draw, 80), left);
}

function tellUsage(usage) {
  if (!usage) return [];
  const tokens = [];
  if (usage.input_tokens !== undefined) tokens.push(`${tellNumber(usage.input_tokens)} in`);
  if (usage.cached_tokens) tokens.push(`${tellNumber(usage.cached_tokens)} cached`);
  if (usage.output_tokens !== undefined) tokens.push(`${tellNumber(usage.output_tokens)} out`);
  if (!tokens.length && usage.total_tokens !== undefined) tokens.push(`${tellNumber(usage.total_tokens)} tokens`);
  return [tokens.join(" \u00b7 "), usage.cost !== undefined ? tellMoney({ [usage.currency || ""]: usage.cost }) : ""];
}

// The place of a recording in its cassette.
const drawPlace = (exchange) => [make("code", null, exchange.cassette, exchange.line && `:${exchange.line}`), exchange.number !== undefined && make("span", { class: "quiet" }, ` number ${exchange.number}`)];

const ENDS = { closed: "the program closed it early", broken: "it broke", silent: "it fell silent", open: "it was still open" };

function drawFacts(exchange, run) {
  const facts = [
    exchange.recorded && ["Recorded", [tellDay(exchange.recorded), " ", make("span", { class: "quiet" }, tellAge(exchange.recorded, run.started))]],
    exchange.cassette && ["Cassette", drawPlace(exchange)],
    exchange.script && ["Script", make("code", null, exchange.script)],
    exchange.job && ["Job", make("code", null, exchange.job)],
    exchange.answered_by && exchange.answered_by !== exchange.model && ["Answered by", exchange.answered_by],
    exchange.tools && exchange.tools.length && ["Tools", exchange.tools.join(", ")],
    ENDS[exchange.end] && ["Its end", make("span", { class: "wrong" }, ENDS[exchange.end])],
  ].filter(Boolean);
  return facts.length ? make("dl", { class: "facts" }, facts.map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, value)))) : null;
}

// Says what is missing of a large answer, and where the whole answer is stored.
function drawLeftOut(exchange, data) {
  const size = typeof exchange.response_body === "object" ? exchange.response_body.size : 0;
  const unread = exchange.answer_left_out || 0;
  if (!unread && !(size && data.find(exchange.response_body).cut)) return null;
  const isStored = exchange.cassette && ["replayed", "recorded"].includes(exchange.source);
  return make("p", { class: "left-out" }, size ? `This answer has ${tellSize(size)}. ` : "",
    unread ? `${tellSize(unread)} of it were not read, so the conversation here is not complete. ` : "Not all of its bytes are shown. ",
    isStored ? ["The whole answer is stored in ", drawPlace(exchange), "."] : exchange.script ? null : "The whole answer is not stored.");
}

function drawProblem(text) {
  const [first, ...rest] = text.split("\n");
  return make("div", { class: "problem" }, make("p", null, cutText(first, 600)),
    rest.join("").trim() ? fold("The whole message", () => makeText(text, { class: "data" })) : null);
}

function drawExchange(exchange, number, context) {
  const { data, run } = context;
  const timing = exchange.timing || {};
  const spent = [...tellUsage(exchange.usage), tellTime(timing.ended !== undefined ? timing.ended : timing.took)].filter(Boolean);
  const isHttp = exchange.kind !== "websocket";
  const head = make("header", { class: "exchange-head" },
    make("h3", null, make("span", { class: "ordinal" }, number), exchange.model || exchange.host),
    make("p", { class: "badges" }, (exchange.states || []).map((state) => badge(state)), (exchange.faults || []).map((fault) => badge("faulted", `fault: ${fault}`)),
      exchange.attempt > 1 && make("span", { class: "tag" }, `try ${exchange.attempt}`)),
    make("p", { class: "spent number" }, spent.join(" \u00b7 ")),
    make("p", { class: "address-line" }, make("b", null, isHttp ? exchange.method : "WebSocket"), ` ${exchange.host}${exchange.path} `,
      exchange.status !== undefined && make("span", { class: exchange.status >= 400 ? "wrong" : "quiet" }, exchange.status), exchange.streamed && make("span", { class: "quiet" }, " streamed")));
  const { box, shown } = drawConversation(exchange, context.earlier, data);
  if (shown.length) context.earlier = shown;
  const isTold = exchange.drift && exchange.drift.prompt_now !== undefined; // the drift shows its prompt
  const hasTalk = (exchange.messages || []).length || (exchange.answer || []).length;
  const raw = make("div", { class: "raw" },
    exchange.parameters && Object.keys(exchange.parameters).length ? fold("Parameters", () => makeText(JSON.stringify(exchange.parameters, null, 2), { class: "data" })) : null,
    fold("Raw request", () => [make("p", { class: "quiet" }, `${exchange.method} ${exchange.path}`), drawHeaders(exchange.request_headers), drawBody(exchange.request_body, data)]),
    exchange.response_headers || exchange.response_body !== undefined
      ? fold("Raw answer", () => [make("p", { class: "quiet" }, `Status ${exchange.status ?? "unknown"}`), drawHeaders(exchange.response_headers), drawBody(exchange.response_body, data)])
      : null);
  return make("section", { class: "card exchange", tabindex: "-1", "aria-label": `Request ${number}` }, head, drawFacts(exchange, run),
    drawLeftOut(exchange, data),
    exchange.problem && drawProblem(exchange.problem), exchange.error && isHttp && exchange.answer && make("p", { class: "problem" }, exchange.error),
    exchange.drift && drawDrift(exchange.drift, data.text),
    isTold && hasTalk ? fold("The request as a conversation", () => box) : hasTalk || (isHttp && !exchange.problem) ? box : null,
    exchange.frames ? drawFrames(exchange, data) : null, raw);
}
