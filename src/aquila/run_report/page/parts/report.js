// The page: reads the data and the address, and shows the list and what is open.

const byId = (id) => document.getElementById(id);

// Data blocks are parsed when they are needed, and not kept.
const data = (() => {
  const parse = (element) => (element ? JSON.parse(element.textContent) : undefined);
  const body = (key) => {
    const element = byId(`body-${key}`);
    return element && { value: parse(element), kind: element.dataset.kind, media: element.dataset.media || "", cut: element.dataset.cut };
  };
  const find = (text) => {
    if (typeof text === "string") return { value: text, kind: "text", size: text.length };
    return { ...(body(text.key) || { value: "(this text is not in the file)", kind: "text" }), size: text.size };
  };
  return {
    body, find,
    text: (text) => {
      const found = find(text);
      return found.kind === "text" ? found.value : `(${tellSize(found.size)} of bytes)`;
    },
    test: (number) => parse(byId(`test-${number}`)), // undefined if the browser has not read the file that far
    stored: (number) => byId(`test-${number}`)?.textContent || "",
    blocks: () => document.querySelectorAll('script[id^="body-"]'),
  };
})();

const index = JSON.parse(byId("index").textContent);
const { run, rows } = index;
const rowOfNumber = new Map(rows.map((row) => [row.number, row]));
const rowOfId = new Map(rows.map((row) => [repair(row.id), row]));
const search = makeSearch(data, rows);
let place = readAddress(location.hash);

// The address of a test in the list, which keeps its filter.
const linkTo = (change) => writeAddress({ ...place, view: "", ...change });
// Links of the overview begin without a filter, because the present filter may hide the test they lead to.
const leadTo = (change) => writeAddress({ ...readAddress(""), view: "test" in change ? "" : "tests", ...change });
const context = { data, run, linkTo: leadTo, rowOf: (number) => rowOfNumber.get(number) };

// The filter.
const go = (change) => {
  place = { ...place, ...change };
  history.replaceState(null, "", writeAddress(place));
  show();
};
const drawChips = () => {
  const chips = [];
  for (const [name, order, read] of [["outcome", ORDER_OF_OUTCOMES, (row) => [row.outcome]], ["state", ORDER_OF_STATES, (row) => row.states]]) {
    const counts = countBy(rows, read);
    for (const value of order.filter((one) => counts.get(one))) {
      const act = () => go({ [name]: place[name].includes(value) ? place[name].filter((one) => one !== value) : [...place[name], value] });
      chips.push(make("button", { type: "button", class: `chip ${value}`, "data-name": name, "data-value": value, onclick: act }, make("i", { "aria-hidden": "true" }), value, make("b", { class: "number" }, tellNumber(counts.get(value)))));
    }
  }
  byId("chips").append(...chips);
};
const drawSelects = () => {
  const makeSelect = (name, label, options) => {
    const select = make("select", { id: `select-${name}`, "aria-label": label, onchange: () => go({ [name]: select.value }) }, options.map(([value, text]) => make("option", { value: repair(value) }, text)));
    byId("selects").append(select);
  };
  const distinct = (read) => [...countBy(rows, read).keys()].sort().map((one) => [one, one]);
  makeSelect("sort", "Order", Object.entries(SORTS).map(([value, [text]]) => [value, text]));
  const models = distinct((row) => row.models), hosts = distinct((row) => row.hosts);
  if (models.length > 1) makeSelect("model", "Model", [["", "Every model"], ...models]);
  if (hosts.length > 1) makeSelect("host", "Host", [["", "Every host"], ...hosts]);
};

const nameOfLink = new WeakMap();
let drawnList = "", openTest = null, listed = [], drawn = 0;
const PAGE = 120;
const watcher = "IntersectionObserver" in window ? new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) growList(); }, { rootMargin: "600px" }) : null;
const growList = () => {
  const list = byId("tests");
  list.querySelector(".list-more")?.remove();
  list.append(...listed.slice(drawn, drawn + PAGE).map((row) => {
    const item = drawRow(row, place, linkTo);
    nameOfLink.set(item.firstChild, repair(row.id));
    return item;
  }));
  drawn = Math.min(listed.length, drawn + PAGE);
  if (drawn === listed.length) return;
  const more = make("li", { class: "list-more" }, make("button", { type: "button", class: "link", onclick: growList }, `Show more (${tellNumber(listed.length - drawn)} left)`));
  list.append(more);
  watcher?.observe(more);
};
const showList = () => {
  const asked = writeAddress({ ...place, test: "", view: "" });
  const list = byId("tests");
  if (drawnList !== asked) {
    drawnList = asked;
    listed = filterRows(rows, place, search);
    drawn = 0;
    list.replaceChildren();
    list.scrollTop = 0;
    if (listed.length) growList();
    else list.append(make("li", { class: "empty" }, rows.length ? "No test matches." : "No test ran."));
    byId("count").textContent = listed.length === rows.length ? tellCount(rows.length, "test") : `${tellNumber(listed.length)} of ${tellCount(rows.length, "test")}`;
    byId("clear").hidden = !(place.q || place.outcome.length || place.state.length || place.host || place.model || place.group);
  }
  const at = place.test ? listed.findIndex((row) => repair(row.id) === place.test) : -1;
  while (at >= drawn) growList();
  for (const link of list.querySelectorAll("a.row")) {
    if (place.test && nameOfLink.get(link) === place.test) {
      if (!link.hasAttribute("aria-current")) link.scrollIntoView({ block: "nearest" });
      link.setAttribute("aria-current", "page");
    } else link.removeAttribute("aria-current");
  }
  for (const chip of byId("chips").children) chip.setAttribute("aria-pressed", String(place[chip.dataset.name].includes(chip.dataset.value)));
  for (const name of ["sort", "model", "host"]) if (byId(`select-${name}`)) byId(`select-${name}`).value = place[name];
  if (document.activeElement !== byId("search")) byId("search").value = place.q;
};

const showMain = () => {
  const wanted = place.test || "";
  document.body.dataset.view = wanted ? "test" : place.view === "tests" ? "tests" : "overview";
  const here = [["to-overview", "overview"], ["to-tests", "tests"]];
  for (const [id, view] of here) {
    if (document.body.dataset.view === view) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
  context.overviewLink = writeAddress({ ...place, test: "", view: "" });
  byId("home").href = byId("to-overview").href = context.overviewLink;
  byId("back")?.setAttribute("href", context.overviewLink);
  byId("to-tests").href = writeAddress({ ...place, test: "", view: "tests" });
  if (openTest === wanted) return false;
  const row = rowOfId.get(wanted);
  const main = byId("main");
  if (wanted && row && document.readyState === "loading" && row.attempts.some((number) => !data.test(number))) {
    main.replaceChildren(make("p", { class: "empty" }, "Reading the file \u2026")); // its data comes later in the file
    return false;
  }
  openTest = wanted;
  forgetBlobs();
  if (!wanted) main.replaceChildren(...[drawOverview(index, context)].flat(Infinity).filter(Boolean));
  else if (row) main.replaceChildren(...[drawTest(row, context)].flat(Infinity).filter(Boolean));
  else main.replaceChildren(make("h1", { tabindex: "-1", id: "title" }, "There is no such test in this report"), make("p", { class: "quiet" }, make("code", null, cutText(wanted, 500))), make("p", null, make("a", { class: "more", href: context.overviewLink }, "To the overview")));
  document.title = wanted ? `${repair(shortName(wanted))} \u00b7 ${run.root}` : pageTitle;
  return true;
};
const pageTitle = document.title;
const show = () => {
  const changed = showMain();
  showList();
  markFound();
  return changed;
};

// Marks the searched text in the open test, also in parts that are unfolded later.
const MOST_MARKS = 1000;
const markFound = () => {
  if (!window.Highlight || !CSS.highlights) return;
  CSS.highlights.delete("found");
  const asked = place.q.toLowerCase();
  if (!asked || !place.test) return;
  const marks = new Highlight();
  const walker = document.createTreeWalker(byId("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode() && marks.size < MOST_MARKS) {
    const node = walker.currentNode, text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue; // a letter became two in lower case, so positions differ
    for (let at = text.indexOf(asked); at >= 0 && marks.size < MOST_MARKS; at = text.indexOf(asked, at + asked.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + asked.length);
      marks.add(range);
    }
  }
  CSS.highlights.set("found", marks);
};
byId("main").addEventListener("toggle", () => setTimeout(markFound, 0), true);
byId("main").addEventListener("click", (event) => { if (event.target.closest(".more, .words-fold")) setTimeout(markFound, 0); });

addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  if (location.hash === "#files") { // a link within the overview, and no filter
    history.replaceState(null, "", writeAddress(place));
    byId("files")?.focus();
    byId("files")?.scrollIntoView();
    return;
  }
  place = readAddress(location.hash);
  if (!show()) return;
  scrollTo(0, 0);
  const title = byId("title");
  if (title) title.focus({ preventScroll: true });
});
byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
byId("filter").addEventListener("submit", (event) => { event.preventDefault(); goToRow(0); });
byId("clear").addEventListener("click", () => { go({ ...readAddress(""), test: place.test, sort: place.sort, view: place.view }); byId("search").value = ""; byId("search").focus(); });
let typing = 0;
const applySearch = () => {
  clearTimeout(typing);
  if (byId("search").value !== place.q) go({ q: byId("search").value });
};
byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(applySearch, 80);
});
byId("search").addEventListener("change", applySearch); // it is left, or Enter was pressed
addEventListener("load", () => search.prepareLater()); // while the browser is idle
byId("help-button").addEventListener("click", () => byId("help").showModal());

// Keys.
const showTests = () => {
  if (document.body.dataset.view !== "tests" && matchMedia("(max-width: 900px)").matches) go({ test: "", view: "tests" });
};
const goToRow = (step) => {
  const links = () => [...byId("tests").querySelectorAll("a.row")];
  let all = links();
  let at = all.indexOf(document.activeElement);
  if (at >= 0) at += step;
  else { // begin at the test that is open
    const open = all.findIndex((link) => link.hasAttribute("aria-current"));
    at = open >= 0 ? open + step : 0;
  }
  if (at >= all.length && drawn < listed.length) { growList(); all = links(); }
  const next = all[Math.max(0, Math.min(all.length - 1, at))];
  if (!next) return;
  showTests();
  next.focus();
  next.scrollIntoView({ block: "nearest" });
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape") {
    if (event.target === byId("search")) event.preventDefault(); // Chromium would empty it, and the filter stays
    if (isTyping) return event.target.blur();
    if (!place.test) return;
    const link = [...byId("tests").querySelectorAll("a.row")].find((one) => one.hasAttribute("aria-current"));
    location.hash = context.overviewLink;
    return void setTimeout(() => link?.focus(), 0);
  }
  if (isTyping) return;
  const acts = { "/": () => { showTests(); byId("search").focus(); byId("search").select(); },
    j: () => goToRow(1), k: () => goToRow(-1), "?": () => byId("help").showModal() };
  const act = acts[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

byId("root").textContent = showUnseen(run.root);
byId("when").textContent = [run.started.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, " UTC"), tellTime(run.took)].join(" \u00b7 ");
drawChips();
drawSelects();
show();
document.addEventListener("DOMContentLoaded", () => {
  drawnList = ""; // the data for a search is complete only now
  show();
});
