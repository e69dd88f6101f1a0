// The overview of a run: counts, causes of misses, traffic, and the slowest, largest and oldest tests.

const WRONG = ["failed", "error", "interrupted"];

function countBy(rows, read) {
  const counts = new Map();
  for (const row of rows) for (const name of read(row)) counts.set(name, (counts.get(name) || 0) + 1);
  return counts;
}

// A faulted request has another state, too, and an unplayed recording is no request: neither gets a share of the bar.
function drawShares(counts, label, linkOf) {
  const shares = counts.filter(([name]) => name !== "faulted" && name !== "unplayed");
  const total = Math.max(1, shares.reduce((sum, [, count]) => sum + count, 0));
  const svg = make("svg", { class: "shares", viewBox: "0 0 1000 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  let at = 0;
  for (const [name, count] of shares) {
    const wide = (count / total) * 1000;
    svg.append(make("rect", { class: name, x: at.toFixed(2), y: 0, width: Math.max(3, wide - 2).toFixed(2), height: 8 }));
    at += wide;
  }
  const entries = counts.map(([name, count]) => {
    const what = [make("i", { "aria-hidden": "true" }), make("b", { class: "number" }, tellNumber(count)), ` ${name}`];
    const link = linkOf(name);
    return make("li", { class: name }, link ? make("a", { href: link }, what) : what);
  });
  return [svg, make("ul", { class: "share-list", "aria-label": label }, entries)];
}

function drawFigures(index, linkTo) {
  const { run, rows } = index;
  const outcomes = countBy(rows, (row) => [row.outcome]);
  const totals = run.totals;
  const tests = ORDER_OF_OUTCOMES.filter((name) => outcomes.get(name)).map((name) => [name, outcomes.get(name)]);
  const files = [["pending", (run.pending || []).length], ["orphaned", (run.orphans || []).length]].filter(([, count]) => count);
  const states = ORDER_OF_STATES.filter((name) => name !== "pending" && index.states[name]).map((name) => [name, index.states[name]]);
  const shown = new Set(rows.flatMap((row) => row.states));
  const linkOfState = (name) => shown.has(name) ? linkTo({ state: [name] }) : null;
  const figure = (name, ...values) => make("div", null, make("dt", null, name), values.map((value) => make("dd", null, value)));
  const amounts = (cost) => Object.entries(cost || {}).map(([currency, amount]) => [tellMoney({ "": amount }), make("small", null, ` ${currency}`)]);
  const spent = amounts(totals.cost), saved = amounts(totals.cost_saved);
  return make("div", { class: "figures-row" },
    make("section", { class: "card" }, make("h2", null, "Tests"), make("p", { class: "big number" }, tellNumber(totals.tests)), drawShares(tests, "Outcomes", (name) => linkTo({ outcome: [name] }))),
    make("section", { class: "card" }, make("h2", null, "Requests"), make("p", { class: "big number" }, tellNumber(totals.requests)),
      states.length ? drawShares(states, "States", linkOfState) : make("p", { class: "quiet" }, "Nothing was asked."),
      files.length > 0 && make("p", { class: "file-counts" }, files.map(([name, count]) => make("a", { href: "#files", class: name }, make("i", { "aria-hidden": "true" }), make("b", { class: "number" }, tellNumber(count)), name === "pending" ? ` ${count === 1 ? "file waits" : "files wait"} for a review` : ` ${count === 1 ? "cassette" : "cassettes"} of no test`)))),
    make("section", { class: "card" }, make("h2", null, "Spent and saved"), make("dl", { class: "figures number" },
      figure("Tokens in", tellNumber(totals.input_tokens)), figure("Tokens out", tellNumber(totals.output_tokens)),
      spent.length > 0 && figure("Spent", ...spent), saved.length > 0 && figure("Saved", ...saved), figure("Time saved", tellTime(totals.saved)))));
}

function drawTestLine(row, figure, linkTo, why) {
  return make("li", null, make("a", { href: linkTo({ test: row.id }) }, make("i", { class: `dot ${row.outcome}`, "aria-hidden": "true" }),
    make("span", { class: "grow" }, breakable(cutText(shortName(row.id), 300)), WRONG.includes(row.outcome) && make("span", { class: "unseen" }, ` (${row.outcome})`)), why && make("span", { class: "grow why quiet" }, why), make("span", { class: "number quiet" }, figure)));
}

// The first tests in an order of the list.
function drawTop(title, rows, sort, figure, context) {
  if (!rows.length) return null;
  return make("section", { class: "card" }, make("h2", null, title), make("ol", { class: "test-lines" }, sortRows(rows, SORTS[sort][1]).slice(0, 5).map((row) => drawTestLine(row, figure(row), context.linkTo))));
}

function drawCauses(causes, context) {
  const draw = (cause, at) => {
    const rows = cause.tests.map((number) => context.rowOf(number)).filter(Boolean);
    const what = cause.paths.slice(0, 3).join(", ") + (cause.paths.length > 3 ? ` and ${cause.paths.length - 3} more` : "");
    return fold([make("b", { class: "cause-count number" }, tellCount(cause.tests.length, "test")), make("span", { class: "grow" }, make("code", null, what || "the request")), make("span", { class: "quiet number" }, tellCount(cause.requests, "request"))],
      () => [drawDrift(cause.example, context.data.text), make("p", null, make("a", { class: "more", href: context.linkTo({ group: cause.group }) }, "Show these tests in the list")),
        makeList(make("ol", { class: "test-lines" }), rows, (row) => drawTestLine(row, row.outcome, context.linkTo), 20)],
      { class: "cause", open: at === 0 && causes.length === 1 });
  };
  const box = make("div", { class: "causes" });
  return make("section", { class: "card" }, make("h2", null, "Why requests missed", make("span", { class: "quiet" }, "the same change counts once")), makeList(box, causes, draw, 20));
}

function drawTraffic(traffic, linkTo) {
  const hasMoney = traffic.some((one) => Object.keys(one.cost).length);
  const row = (one) => make("tr", null,
    make("th", { scope: "row" }, make("a", { href: linkTo({ host: one.host, model: one.model }) }, one.model || "(no model)"), make("span", { class: "quiet" }, one.host)),
    make("td", { class: "number" }, tellNumber(one.requests)), make("td", { class: "number" }, tellNumber(one.input_tokens)), make("td", { class: "number" }, tellNumber(one.output_tokens)),
    hasMoney && make("td", { class: "number" }, tellMoney(one.cost) || "\u2013"), make("td", { class: "number" }, tellTime(one.time)));
  const body = make("tbody");
  const [filled, more] = makeList(body, traffic, row, 12);
  return make("section", { class: "card traffic" }, make("h2", null, "By model and host"),
    make("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "Requests by model and host" }, make("table", null,
      make("thead", null, make("tr", null, make("th", { scope: "col" }, "Model"), ["Requests", "Tokens in", "Tokens out", ...(hasMoney ? ["Money"] : []), "Time"].map((head) => make("th", { scope: "col", class: "number" }, head)))), filled)), more);
}

function drawFiles(run) {
  const parts = [["Waiting for a review", run.pending || []], ["Used by no test", run.orphans || []]].filter(([, files]) => files.length);
  if (!parts.length) return null;
  return make("section", { class: "card", id: "files", tabindex: "-1" }, make("h2", null, "Cassettes"), parts.map(([title, files]) => [make("h3", null, title, make("span", { class: "quiet number" }, tellNumber(files.length))),
    makeList(make("ul", { class: "plain" }), files, (file) => make("li", null, make("code", null, file)), 20)]));
}

function drawOverview(index, context) {
  const { run, rows } = index, { linkTo } = context;
  const failed = rows.filter((row) => WRONG.includes(row.outcome)), { hosts } = run.totals;
  const failedList = make("ol", { class: "test-lines" });
  return [
    make("h1", { class: "unseen", tabindex: "-1", id: "title" }, "Overview of the run"),
    run.interrupted && make("p", { class: "banner", role: "note" }, make("b", null, "The run did not come to its end. "), run.interrupted),
    drawFigures(index, linkTo),
    failed.length ? make("section", { class: "card" }, make("h2", null, "Failed", make("span", { class: "quiet number" }, tellNumber(failed.length))),
      makeList(failedList, failed, (row) => drawTestLine(row, row.states.filter((one) => one !== "replayed").join(", "), linkTo, row.why), 8)) : null,
    index.causes.length ? drawCauses(index.causes, context) : null,
    hosts.length ? drawTraffic(hosts, linkTo) : null,
    make("div", { class: "tops" }, drawTop("Slowest tests", rows, "slowest", (row) => tellTime(row.took), context),
      drawTop("Largest", rows.filter((row) => row.size), "largest", (row) => tellSize(row.size), context),
      drawTop("Oldest recordings", rows.filter((row) => row.recorded), "oldest", (row) => tellAge(row.recorded, run.started) || tellDay(row.recorded), context)),
    (run.notes || []).length ? make("section", { class: "card" }, make("h2", null, "Notes"), makeList(make("ul", { class: "notes" }), run.notes, (note) => make("li", null, cutText(note, 4000)), 20)) : null,
    drawFiles(run),
    make("section", { class: "card about" }, make("h2", null, "This run"), makeCommand(run.command),
      make("p", { class: "quiet" }, [`Mode ${run.mode}`, `Aquila ${run.aquila}`, `pytest ${run.pytest}`, `Python ${run.python}`, run.platform].join(" \u00b7 "))),
  ];
}
