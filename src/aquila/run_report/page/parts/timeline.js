// The timeline of a test: its requests below each other on one clock, as a picture and as a table.

// A replay answers at once what took seconds, so its requests are drawn at the pace of the recording: a request that
// began after another had ended begins as long after it as in the test.
function placeOnClock(exchanges) {
  const placed = exchanges.map((exchange) => {
    const timing = exchange.timing || {};
    const took = timing.took !== undefined ? timing.took : timing.ended || 0;
    return { exchange, asked: timing.asked || 0, over: (timing.asked || 0) + took, length: Math.max(timing.ended || 0, timing.first_byte || 0, took) };
  });
  const done = [];
  for (const one of [...placed].sort((a, b) => a.asked - b.asked)) {
    one.start = one.asked;
    for (const other of done) {
      if (other.over <= one.asked) one.start = Math.max(one.start, other.end + one.asked - other.over);
    }
    one.end = one.start + one.length;
    if (done.length < 500) done.push(one);
  }
  return placed;
}

function measureGaps(timing) {
  const chunks = timing.chunks || [];
  let longest = 0;
  for (let at = 1; at < chunks.length; at++) longest = Math.max(longest, chunks[at] - chunks[at - 1]);
  return { count: chunks.length, longest };
}

function tellRequest(one, number) {
  const { exchange } = one, timing = exchange.timing || {}, gaps = measureGaps(timing);
  return [
    `${number}. ${exchange.model || exchange.host}`,
    `asked at ${tellTime(one.asked)}`,
    timing.first_byte !== undefined && `first byte after ${tellTime(timing.first_byte)}`,
    timing.first_token !== undefined && `first token after ${tellTime(timing.first_token)}`,
    timing.ended !== undefined ? `ended after ${tellTime(timing.ended)}` : "did not end",
    timing.took !== undefined && timing.took !== timing.ended && `the test waited ${tellTime(timing.took)}`,
    gaps.count > 1 && `${tellCount(gaps.count, "chunk")}, longest gap ${tellTime(gaps.longest)}`,
    exchange.attempt > 1 && `try ${exchange.attempt}`,
  ].filter(Boolean).join(" \u00b7 ");
}

const WIDTH = 1000;
function drawBar(one, scale, begin) {
  const timing = one.exchange.timing || {};
  const x = (at) => Math.max(0, Math.min(WIDTH, (at - begin) * scale)).toFixed(2);
  const wide = (from, to) => Math.max(1.5, (to - from) * scale).toFixed(2);
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const streams = timing.first_token !== undefined ? timing.first_token : timing.first_byte;
  const ended = timing.ended === undefined ? one.length : timing.ended;
  svg.append(make("rect", { class: "waiting", x: x(one.start), y: 6, width: wide(0, streams === undefined ? ended : streams), height: 12 }));
  if (one.length > ended) svg.append(make("rect", { class: "after", x: x(one.start + ended), y: 11, width: wide(ended, one.length), height: 2 }));
  if (streams !== undefined && one.length > 0) {
    svg.append(make("rect", { class: "streaming", x: x(one.start + streams), y: 6, width: wide(streams, Math.max(streams, ended)), height: 12 }));
    svg.append(make("path", { class: "first", d: `M${x(one.start + streams)} 3V21` }));
  }
  const ticks = (timing.chunks || []).map((at) => `M${x(one.start + at)} 9V15`).join("");
  if (ticks) svg.append(make("path", { class: "ticks", d: ticks }));
  return svg;
}

function drawWait(from, to, scale, begin, label) {
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: "none", "aria-hidden": "true", class: "wait" });
  const x = (at) => Math.max(0, Math.min(WIDTH, (at - begin) * scale)).toFixed(2);
  svg.append(make("path", { class: "pause", d: `M${x(from)} 12H${x(to)}` }), make("title", null, label));
  return svg;
}

function drawTable(placed, jobs) {
  const rows = placed.map((one, index) => {
    const timing = one.exchange.timing || {}, gaps = measureGaps(timing);
    const cells = [timing.asked, timing.first_byte, timing.first_token, timing.ended, timing.took].map((at) => make("td", { class: "number" }, at === undefined ? "\u2013" : tellTime(at)));
    return make("tr", null, make("th", { scope: "row" }, `${index + 1}. ${one.exchange.model || one.exchange.host}`, one.exchange.attempt > 1 ? ` (try ${one.exchange.attempt})` : null),
      cells, make("td", { class: "number" }, gaps.count || "\u2013"), make("td", { class: "number" }, gaps.count > 1 ? tellTime(gaps.longest) : "\u2013"));
  });
  for (const job of jobs) {
    for (const attempt of job.attempts) {
      rows.push(make("tr", null, make("th", { scope: "row" }, `job ${job.name}, attempt ${attempt.number}`), make("td", { class: "number" }, tellTime(attempt.at)),
        make("td", null, "\u2013"), make("td", null, "\u2013"), make("td", { class: "number" }, tellTime(attempt.took) || "\u2013"), make("td", null), make("td", null), make("td", null)));
    }
  }
  const heads = ["Request", "Asked at", "First byte", "First token", "Ended", "Test waited", "Chunks", "Longest gap"];
  return make("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "Times as a table" },
    make("table", null, make("thead", null, make("tr", null, heads.map((head, at) => make("th", { scope: "col", class: at ? "number" : null }, head)))), make("tbody", null, rows)));
}

// Marks at round times.
function drawScale(begin, last) {
  const all = Math.max(1, last - begin);
  const power = 10 ** Math.floor(Math.log10(all / 4));
  const step = Math.max(1, [1, 2, 5, 10].map((one) => one * power).find((one) => all / one <= 5.5));
  const scale = make("div", { class: "scale", "aria-hidden": "true" });
  for (let at = Math.ceil(begin / step) * step; at <= begin + all * 0.9; at += step) {
    const mark = make("span", null, at ? tellTime(at) : "0");
    mark.style.left = `${((at - begin) / all) * 100}%`;
    scale.append(mark);
  }
  return scale;
}

const hasTimes = (test) =>
  (test.jobs || []).length > 0 || (test.exchanges || []).length > 1 || (test.exchanges || []).some((one) => (one.timing || {}).first_byte !== undefined);

function drawTimeline(test, goTo) {
  const exchanges = test.exchanges || [], jobs = test.jobs || [];
  const placed = placeOnClock(exchanges);
  const ends = [...placed.map((one) => one.end), ...jobs.flatMap((job) => job.attempts.map((one) => one.at + (one.took || 0)))];
  const last = Math.max(1, ...ends.slice(0, 5000));
  // The time before the first request is left out if it would take much of the width.
  const first = Math.min(last, ...placed.slice(0, 5000).map((one) => one.start), ...jobs.flatMap((job) => job.attempts.map((one) => one.at)));
  const begin = first > last * 0.3 ? first : 0;
  const scale = WIDTH / Math.max(1, last - begin);
  const readout = make("p", { class: "readout quiet", "aria-hidden": "true" }, "Point at a request, or go to it with Tab, to read its times; a click leads to it.");
  const tell = (text) => () => { readout.textContent = text; };
  const addRow = (label, text, bar, kind, act) => {
    const show = tell(text);
    const attributes = { class: `lane ${kind || ""}`, "aria-label": text, onfocus: show, onmouseenter: show };
    const parts = [make("span", { class: "lane-label" }, label), bar];
    return make("li", null, act ? make("button", { ...attributes, type: "button", onclick: act }, parts) : make("div", { ...attributes, tabindex: "0", role: "img" }, parts));
  };
  const rows = placed.map((one, index) => {
    const bars = [drawBar(one, scale, begin)];
    const before = placed[index - 1];
    if (before && one.exchange.attempt > 1 && one.start > before.end) {
      bars.unshift(drawWait(before.end, one.start, scale, begin, "the client waited before it tried again"));
    }
    const state = (one.exchange.states || [])[0] || "other";
    return addRow([`${index + 1} `, make("span", { class: "quiet" }, one.exchange.attempt > 1 ? `try ${one.exchange.attempt}` : one.exchange.model || one.exchange.host)],
      tellRequest(one, index + 1), make("span", { class: "lane-bars" }, bars), state, () => goTo(index));
  });
  for (const job of jobs) {
    job.attempts.forEach((attempt, index) => {
      const svg = make("svg", { viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: "none", "aria-hidden": "true" },
        make("rect", { class: "job", x: ((attempt.at - begin) * scale).toFixed(2), y: 9, width: Math.max(1.5, (attempt.took || 0) * scale).toFixed(2), height: 6 }));
      const bars = [svg], before = job.attempts[index - 1];
      if (before) bars.unshift(drawWait(before.at + (before.took || 0), attempt.at, scale, begin, "the job waited to run again"));
      const text = [`job ${job.name}, attempt ${attempt.number}: ${attempt.outcome}`, `at ${tellTime(attempt.at)}`, attempt.took !== undefined && `took ${tellTime(attempt.took)}`, attempt.delay && `waits ${attempt.delay} s`].filter(Boolean).join(" \u00b7 ");
      rows.push(addRow([make("span", { class: "quiet" }, `#${attempt.number} ${job.name}`)], text, make("span", { class: "lane-bars" }, bars)));
    });
  }
  const isReplayed = exchanges.some((one) => one.source === "replayed" && (one.timing || {}).took !== undefined && one.timing.took < (one.timing.ended || 0));
  const list = make("ol", { class: "lanes" });
  return make("section", { class: "card timeline", "aria-label": "Timeline" },
    make("h3", null, "Timeline", isReplayed && make("span", { class: "quiet" }, "at the pace of the recording")),
    drawScale(begin, last),
    makeList(list, rows, (row) => row, 60), readout,
    make("p", { class: "legend quiet", "aria-hidden": "true" }, make("span", { class: "key waiting" }), "waiting", make("span", { class: "key streaming" }), "answering",
      placed.some((one) => one.exchange.timing?.ended < one.length) && [make("span", { class: "key after" }), "until the test went on"],
      placed.some((one) => one.exchange.timing?.chunks?.length) && [make("span", { class: "key tick" }), "a chunk"]),
    fold("As a table", () => drawTable(placed, jobs)));
}
