// The page of a review. It gets all data from the command that serves it, with the token in the address of the page.
const SIGNS = { accept: "✓", reject: "✗", skip: "–" };
const GROUPS = {
  new: (size) => `One of ${size} that are new in this cassette`,
  gone: (size) => `One of ${size} that would vanish from this cassette`,
  details: (size) => `One of ${size} of which only times, ids, token counts or headers changed`,
  prompt: (size) => `Group of ${size} with the same change of the prompt, whatever the answers`,
  answer: (size) => `Group of ${size} with the same change of the answer`,
};
const token = location.hash.slice(1);
const at = (id) => document.getElementById(id);
let review = null, current = null, ended = false, busy = false, acts = 0;

async function ask(path, body) {
  const options = { headers: { "x-aquila-token": token }, cache: "no-store" };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const response = await fetch(path, options);
  const value = await response.json();
  if (response.status === 401) throw new Error("This address lacks the token. Open the one that the command printed.");
  if (value.error) throw new Error(value.error.message);
  return value;
}

function tell(text) {
  at("told").hidden = !text;
  at("told").textContent = text || "";
}

const openItems = () => review.items.filter((item) => !item.choice);
const find = (id) => review.items.find((item) => item.id === id);

function take(value, goesOn, tellsWritten) {
  if (!value.items) return tell(value.problem);
  review = { ...value, problem: null };
  const written = value.outcomes.map((one) => one.problem
    ? `${one.cassette}: not written: ${one.problem}`
    : `${one.cassette}: ${one.accepted} accepted, ${one.rejected} rejected, ${one.left} still wait`);
  tell([value.problem, ...value.problems, ...(tellsWritten ? written : [])].filter(Boolean).join("\n"));
  if (goesOn || !find(current)) {
    const place = review.items.findIndex((item) => item.id === current);
    const next = openItems().find((item) => review.items.indexOf(item) > place) || openItems()[0];
    current = next ? next.id : null;
  }
  draw();
}

function draw() {
  const decided = review.items.length - openItems().length;
  at("progress").max = review.items.length || 1;
  at("progress").value = decided;
  at("count").textContent = `${tellNumber(decided)} of ${tellNumber(review.items.length)} decided`;
  at("write").disabled = !review.items.some((item) => item.choice && item.choice !== "skip");
  at("undo").disabled = !decided;
  const list = at("list"), focused = document.activeElement.dataset.id, shown = list.querySelectorAll(".question").length;
  list.replaceChildren(...makeList(make("div", { class: "questions" }), review.items, (item) =>
    make("button", { type: "button", class: `question ${item.choice || ""}`, "data-id": item.id, "aria-current": item.id === current && "true", onclick: () => open(item.id) },
      make("i", { "aria-hidden": "true" }, SIGNS[item.choice] || ""),
      make("b", null, `${item.cassette} #${item.number}`),
      make("small", null, item.title, item.choice && make("span", { class: "unseen" }, `, decided: ${item.choice}`))), Math.max(300, shown)),
    ...(review.besides || []).map((line) => make("p", { class: "besides quiet" }, line)));
  if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  drawItem();
}

let drawn = "", asked = 0;
const describe = (item) => `${item.id} ${item.choice} ${item.size} ${item.chain}`;
async function drawItem() {
  const item = find(current), mine = ++asked; // an answer that arrives after a later call is not shown
  if (!item) {
    drawn = "";
    const text = review.items.length ? "All is decided. Write the decisions, or take back the last." : "Nothing waits for a review.";
    return at("main").replaceChildren(make("section", { class: "card" }, make("h1", null, text)));
  }
  const key = describe(item);
  if (drawn === key) return;
  const view = await ask(`item?id=${encodeURIComponent(item.id)}`).catch((error) => ({ problem: error.message }));
  if (mine !== asked) return;
  if (view.problem) return tell(view.problem);
  drawn = key;
  const words = (name, pieces) => pieces.length
    ? [make("h2", null, pieces.every(([kind]) => kind === "same") ? `${name} (the same)` : name), drawWords(pieces)] : [];
  const fact = ([name, was, now]) => [make("dt", null, name), make("dd", null,
    was && now && was !== now ? [make("del", null, was), " → ", make("ins", null, now)] : now || was)];
  const fields = view.fields.length ? [make("h2", null, "Also different"), ...makeList(make("dl", { class: "drift-changes" }), view.fields,
    (field) => make("div", { class: "drift-change" }, make("dt", null, make("code", null, field.path)), make("dd", null, drawWords(field.words))), 30)] : [];
  at("main").replaceChildren(make("section", { class: "card", "aria-label": item.title },
    make("h1", null, `${item.title}: ${item.cassette} #${item.number}`),
    make("p", { class: "meta quiet" }, view.request),
    view.tests.slice(0, 5).map((test) => make("p", { class: "meta" }, "test ", make("code", null, test))),
    view.newer && make("p", { class: "wrong" }, "The cassette has changed since: this may be newer than what waits."),
    item.size > 1 && make("p", { class: "group" }, GROUPS[item.kind](item.size)),
    item.chain > 1 && make("p", { class: "group" }, `One of ${item.chain} of a conversation: some name ids that others give, so decide them together`),
    item.choice && make("p", { class: "group" }, `Decided: ${item.choice}`),
    make("dl", { class: "facts" }, view.facts.map(fact)),
    words("Prompt", view.prompt), words("Answer", view.answer), fields,
    view.left_out > 0 && make("p", { class: "quiet" }, `and ${tellCount(view.left_out, "more field")}`)),
  make("div", { class: "actions", role: "group", "aria-label": "Decide" },
    button("Accept", "a", "good"), button("Reject", "r", "bad"), button("Skip", "s", ""),
    item.size > 1 && button(`Accept all ${item.size}`, "A", "good"), item.size > 1 && button(`Reject all ${item.size}`, "R", "bad"),
    item.chain > 1 && button(`Accept the conversation (${item.chain})`, "C", "good"), item.chain > 1 && button(`Reject the conversation (${item.chain})`, "X", "bad")));
}

const button = (label, key, look) => make("button", { type: "button", class: `button ${look}`, onclick: () => press(key) }, label, make("kbd", null, key));

function open(id) {
  current = id;
  draw();
}

async function act(path, body, goesOn) {
  if (busy || ended) return;
  busy = true;
  acts += 1;
  try { take(await ask(path, body), goesOn, path === "write"); }
  catch (error) { tell(error.message); }
  finally { busy = false; }
}

async function finish() {
  if (ended) return;
  try { await ask("done", {}); } catch (error) { return tell(error.message); }
  ended = true;
  document.body.replaceChildren(make("p", { class: "told" }, "Done. What was decided and not written is kept; this window can be closed."));
}

function press(key) {
  const item = find(current), choices = { a: "accept", r: "reject", s: "skip", A: "accept", R: "reject", C: "accept", X: "reject" };
  const isShown = item && drawn === describe(item); // a key decides only about the question that is drawn
  if (key in choices) isShown && act("decide", { id: item.id, choice: choices[key], was: item.choice, group: key === "A" || key === "R", chain: key === "C" || key === "X" }, true);
  else if (key === "u") act("undo", {}, false).then(() => openItems()[0] && open(openItems()[0].id));
  else if (key === "w" && !at("write").disabled) act("write", {}, true);
  else if (key === "q") finish();
  else if (key === "j" || key === "k") {
    const place = review.items.indexOf(item) + (key === "j" ? 1 : -1);
    if (review.items[place]) open(review.items[place].id);
  } else return false;
  return true;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !review || ended) return;
  if (press(event.key)) event.preventDefault();
});
at("undo").addEventListener("click", () => press("u"));
at("write").addEventListener("click", () => press("w"));
at("done").addEventListener("click", () => press("q"));

// Another window may decide, and a test may record, so the page asks for changes.
let looking = false;  // the answer for a long review may take longer than the pause between two calls
async function look() {
  if (looking || !review || busy || ended || document.hidden) return;
  looking = true;
  try {
    const before = acts, value = await ask("review");
    if (!busy && acts === before && JSON.stringify(value) !== JSON.stringify(review)) take(value, false);
  } catch (error) { tell(`The command does not answer: ${error.message}`); }
  finally { looking = false; }
}
addEventListener("focus", look);
setInterval(look, 2000);
ask("review").then((value) => take(value, true)).catch((error) => tell(error.message));
