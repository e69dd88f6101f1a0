// The list of tests. The address of the page holds its filter, so that a filtered list can be sent to somebody.

const SORTS = {
  "": ["Failed first", (row) => (WRONG.includes(row.outcome) ? 0 : 1)],
  file: ["Order of files", () => 0],
  slowest: ["Slowest", (row) => -row.took],
  largest: ["Largest", (row) => -row.size],
  oldest: ["Oldest recording", (row) => row.recorded || "9999"],
  tokens: ["Most tokens", (row) => -row.tokens],
};
const MANY = ["outcome", "state"], ONE = ["host", "model", "group", "q", "sort"];

// Reads the part of the address after #; writeAddress is the reverse.
function readAddress(hash) {
  const found = new URLSearchParams(hash.replace(/^#/, "").replaceAll("+", "%2B"));
  const place = { test: found.get("test") || "", view: found.get("view") || "" };
  for (const name of MANY) place[name] = (found.get(name) || "").split(",").filter(Boolean);
  for (const name of ONE) place[name] = found.get(name) || "";
  if (!Object.hasOwn(SORTS, place.sort)) place.sort = "";
  return place;
}

const LONE = /[\ud800-\udfff]/gu;
const repair = (text) => text.replace(LONE, "\ufffd");
function writeAddress(place) {
  const parts = [];
  for (const name of ["test", ...MANY, ...ONE, "view"]) {
    const value = Array.isArray(place[name]) ? place[name].join(",") : place[name];
    if (value) parts.push(`${name}=${encodeURIComponent(repair(value)).replace(/%(3A|2F|5B|5D|2C|40)/g, decodeURIComponent)}`);
  }
  return `#${parts.join("&")}`;
}

// The texts of a test that can be searched: short ones are in its data, long ones in blocks that several tests share.
// Both are searched in their stored form, so the query is brought into the same form: JSON in small letters.
const asStored = (text) => JSON.stringify(text).slice(1, -1).replace(/[<>\u2028\u2029\ufeff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`).toLowerCase();

function makeSearch(data, rows) {
  const bodies = new Map(), texts = new Map();
  let waiting = null;
  const prepareRow = (row) => {
    const keys = new Set(), pieces = [];
    for (const number of row.attempts) {
      const stored = data.stored(number);
      for (const [, key] of stored.matchAll(/"key":"([^"\\]+)"/g)) keys.add(key);
      pieces.push(stored.replace(/"key":"[^"\\]+"|"[a-z_]+":/g, "")); // names of fields are not searched
    }
    texts.set(row, { text: pieces.join("\n").toLowerCase(), keys });
  };
  const prepare = (deadline) => {
    for (const row of rows) {
      if (texts.has(row)) continue;
      prepareRow(row);
      if (deadline && deadline.timeRemaining() < 4) return false;
    }
    for (const block of data.blocks()) {
      if (bodies.has(block.id)) continue;
      if (block.dataset.kind === "text") bodies.set(block.id, block.textContent.toLowerCase());
      if (deadline && deadline.timeRemaining() < 4) return false;
    }
    return true;
  };
  const later = window.requestIdleCallback || ((act) => setTimeout(() => act({ timeRemaining: () => 20 }), 30));
  const prepareLater = () => {
    if (!waiting) waiting = later((deadline) => { waiting = null; if (!prepare(deadline)) prepareLater(); });
  };
  // A longer query is searched only where its shorter beginning was found.
  let last = { stored: "", bodies: null, rows };
  const find = (query) => {
    prepare(null);
    const stored = asStored(query);
    const around = last.bodies && last.known === bodies.size && stored.includes(last.stored) ? last : { bodies, rows };
    const hits = new Map();
    for (const [id, text] of around.bodies) if (text.includes(stored)) hits.set(id, text);
    const found = around.rows.filter((row) => {
      const { text, keys } = texts.get(row);
      if (text.includes(stored)) return true;
      for (const key of keys) if (hits.has(`body-${key}`)) return true;
      return false;
    });
    last = { stored, bodies: hits, rows: found, known: bodies.size };
    return new Set(found);
  };
  return { find, prepareLater };
}

const sortRows = (rows, key) => rows.map((row) => [key(row), row]).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, row]) => row);

function filterRows(rows, place, search) {
  const found = place.q && document.readyState !== "loading" ? search.find(place.q) : null; // its texts come later
  const kept = rows.filter((row) =>
    (!place.outcome.length || place.outcome.includes(row.outcome)) &&
    (!place.state.length || place.state.some((one) => row.states.includes(one))) &&
    (!place.host || row.hosts.some((one) => repair(one) === place.host)) &&
    (!place.model || row.models.some((one) => repair(one) === place.model)) &&
    (!place.group || (row.groups || []).some((one) => repair(one) === place.group)) &&
    (!found || found.has(row)));
  return sortRows(kept, SORTS[place.sort][1]);
}

function describeRow(row, sort) {
  if (sort === "largest") return tellSize(row.size);
  if (sort === "tokens") return tellNumber(row.tokens);
  if (sort === "oldest") return row.recorded ? tellDay(row.recorded) : "";
  return tellTime(row.took);
}

function drawRow(row, place, linkTo) {
  const states = row.states.filter((one) => one !== "replayed" || row.states.length === 1);
  return make("li", null, make("a", { href: linkTo({ test: row.id }), class: "row" },
    make("i", { class: `dot ${row.outcome}`, "aria-hidden": "true" }),
    make("span", { class: "row-name" }, breakable(cutText(shortName(row.id), 300))), make("span", { class: "row-figure number" }, describeRow(row, place.sort)),
    make("span", { class: "row-more" }, row.outcome !== "passed" ? make("b", { class: `outcome ${row.outcome}` }, row.outcome) : make("span", { class: "unseen" }, row.outcome),
      states.map((one) => make("span", { class: `state ${one}` }, one)), row.attempts.length > 1 && make("span", { class: "tag" }, `${row.attempts.length} attempts`), make("span", { class: "row-file" }, row.file))));
}
