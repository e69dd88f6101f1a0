// Draws one test: its failure, the command that records it again, its timeline, and each request. Attempts are side by side.

// An error. Of a long one the first words are shown, and the rest when it is unfolded.
const drawError = (text) => text.length <= 200 ? make("span", { class: "wrong" }, text)
  : fold(make("span", { class: "wrong" }, `${text.slice(0, 190).replace(/\S*$/, "")}\u2026`), () => makeText(text, { class: "data" }));

function drawJobs(test, data) {
  const draw = (job) => make("li", null,
    make("p", { class: "job-name" }, make("b", null, job.name), " ", make("code", { class: "quiet" }, job.id), job.queue && make("span", { class: "quiet" }, ` queue ${job.queue}`)),
    job.arguments !== undefined ? fold("Arguments", () => makeText(prettyJson(data.text(job.arguments)), { class: "data" })) : null,
    make("ol", { class: "attempts" }, job.attempts.map((attempt) => make("li", null,
      make("span", { class: "number" }, attempt.number), make("span", { class: /fail|error|raise|dead/i.test(attempt.outcome) ? "wrong" : null }, attempt.outcome),
      make("span", { class: "number quiet" }, `at ${tellTime(attempt.at)}`, attempt.took !== undefined ? `, took ${tellTime(attempt.took)}` : "", attempt.delay ? `, again after ${attempt.delay} s` : ""),
      attempt.error ? drawError(attempt.error) : null))));
  return make("section", { class: "card", "aria-label": "Jobs" }, make("h3", null, "Jobs"), makeList(make("ul", { class: "jobs" }), test.jobs, draw, 30));
}

function drawAttempt(test, context, isOnly, why) {
  const { data } = context;
  const exchanges = test.exchanges || [];
  const place = make("div", { class: "attempt" });
  const facts = [
    `${test.file}${test.line ? `:${test.line}` : ""}`, `took ${tellTime(test.took)}`,
    tellCount(exchanges.length, "request"), test.worker && `worker ${test.worker}`,
  ].filter(Boolean).join(" \u00b7 ");
  place.append(make("header", { class: "test-head" },
    make("h2", { class: isOnly ? "unseen" : "attempt-title" }, `Attempt ${test.attempt}`),
    make("p", { class: "badges" }, badge(test.outcome), (test.states || []).map((state) => badge(state))),
    make("p", { class: "quiet" }, facts)));
  // For a miss the requests show what differs, better than a traceback does.
  const explained = exchanges.some((one) => one.drift || one.problem);
  if (test.failure !== undefined) {
    const draw = () => makeText(data.text(test.failure), { class: "data" }, 5000);
    place.append(make("section", { class: "card failure", "aria-label": "Failure" },
      explained ? fold([make("b", null, "Failure"), make("span", { class: "grow one-line" }, why || "")], draw) : [make("h3", null, "Failure"), draw()]));
  }
  // A test whose requests are all answered by a script, or that sends none, cannot be recorded.
  if (explained || (test.cassettes || []).length || exchanges.some((one) => one.source !== "scripted")) place.append(make("section", { class: "card again", "aria-label": "Command" },
    make("h3", null, "Record it again"), makeCommand(test.command),
    (test.cassettes || []).length ? make("p", { class: "quiet cassettes" }, "Cassettes: ", test.cassettes.map((one, at) => [at ? ", " : "", make("code", null, one)])) : null,
    (test.unplayed || []).length ? fold(`${tellCount(test.unplayed.length, "recording")} not played`, () => make("ul", { class: "plain" }, test.unplayed.map((one) => make("li", null, make("code", null, one))))) : null));
  const list = make("div", { class: "exchanges" });
  const goTo = (at) => {
    while (list.children.length <= at && list.nextElementSibling?.matches(".more:not([hidden])")) list.nextElementSibling.click();
    list.children[at]?.focus({ preventScroll: true });
    list.children[at]?.scrollIntoView();
  };
  const times = [hasTimes(test) && drawTimeline(test, goTo), (test.jobs || []).length > 0 && drawJobs(test, data)].filter(Boolean);
  if (!explained) place.append(...times);
  const inner = { ...context, earlier: [] };
  place.append(...makeList(list, exchanges, (exchange, at) => drawExchange(exchange, at + 1, inner), 20));
  if (explained) place.append(...times); // what differs comes first
  if (!exchanges.length) place.append(make("p", { class: "empty" }, "This test asked nothing."));
  return place;
}

const shortName = (id) => id.slice(id.indexOf("::") + 2) || id;

function drawTest(row, context) {
  const attempts = row.attempts.map((number) => context.data.test(number)).filter(Boolean);
  const title = make("h1", { tabindex: "-1", id: "title" }, breakable(cutText(shortName(row.id), 2000)));
  const head = make("div", { class: "title-line" }, make("a", { href: context.overviewLink, class: "back", id: "back" }, "\u2190 Overview"), title,
    make("code", { class: "quiet id" }, row.id));
  if (!attempts.length) return [head, make("p", { class: "empty" }, "Its data is not in this file.")];
  if (attempts.length === 1) return [head, drawAttempt(attempts[0], context, true, row.why)];
  return [head, make("div", { class: "side-by-side", role: "group", "aria-label": `${attempts.length} attempts` }, attempts.map((test) => drawAttempt(test, context, false)))];
}
