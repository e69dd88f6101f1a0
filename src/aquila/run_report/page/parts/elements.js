// Makes elements, numbers, and texts of any length. Text is never set as HTML.

// Invisible characters are shown by their numbers, except tabs and ends of lines.
const NAMES = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;
const showUnseen = (text) =>
  text.replace(NAMES, (one) => `\u27e8U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);

const SVG = new Set(["svg", "g", "rect", "path", "line", "circle", "title"]);

// make("p", {class: "quiet", onclick: act}, "text", element, null, [more]): attributes are never HTML.
function make(tag, attributes, ...children) {
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : showUnseen(String(value)));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : showUnseen(String(child)));
  }
  return element;
}

const grouped = new Intl.NumberFormat("en");
const tellNumber = (number) => grouped.format(Math.round(number));
const tellCount = (number, noun, nouns) => `${tellNumber(number)} ${number === 1 ? noun : nouns || `${noun}s`}`;

function tellTime(milliseconds) {
  if (milliseconds === undefined || milliseconds === null) return "";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function tellSize(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 999_500) return `${(bytes / 1000).toFixed(bytes < 9950 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function tellMoney(cost) {
  const texts = Object.entries(cost || {}).map(([currency, amount]) => {
    const digits = amount !== 0 && Math.abs(amount) < 1 ? 4 : 2;
    const text = amount > 0 && amount < 0.00005 ? "< 0.0001" : amount.toFixed(digits);
    return `${text} ${currency}`.trim();
  });
  return texts.join(" + ");
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
function tellDay(moment) {
  const found = /^(\d{4})-(\d\d)-(\d\d)/.exec(moment || "");
  return found ? `${Number(found[3])} ${MONTHS[Number(found[2]) - 1] || found[2]} ${found[1]}` : String(moment || "");
}

function tellAge(moment, now) {
  const days = Math.floor((Date.parse(now) - Date.parse(moment)) / 86_400_000);
  if (!(days >= 0)) return "";
  if (days === 0) return "today";
  return `${tellCount(days, "day")} ago`;
}

// A name that may be broken where its words end.
const breakable = (name) => name.split(/(?<=[_.:/[-])/).flatMap((part, at) => (at ? [make("wbr"), part] : [part]));

// A text of any length. A long text is cut, because browsers lay out a megabyte slowly; a button shows more of it.
const SHOWN = 6000;
function cutText(text, shown = SHOWN) {
  if (text.length <= shown + 500) return text;
  const half = /[\ud800-\udbff]$/.test(text.slice(0, shown)) ? 1 : 0;
  return text.slice(0, shown - half);
}
function makeText(text, attributes, shown = SHOWN) {
  const place = make("pre", { tabindex: null, dir: "auto", ...attributes });
  let at = 0;
  const showMore = (size) => {
    const piece = cutText(text.slice(at), size);
    at += piece.length;
    place.append(showUnseen(piece));
  };
  showMore(shown);
  if (at === text.length) return place;
  const box = make("div", { class: "long" }, place);
  const rest = make("button", { type: "button", class: "link more" });
  const tell = () => { rest.textContent = `Show more (${tellNumber(text.length - at)} characters left)`; };
  tell();
  rest.addEventListener("click", () => {
    showMore(100_000);
    if (at === text.length) rest.remove();
    else tell();
  });
  box.append(rest);
  return box;
}

// A folded element, whose content is drawn when it is opened.
function fold(summary, draw, attributes = {}) {
  const box = make("details", attributes, make("summary", null, summary));
  let drawn = false;
  const fill = () => {
    if (drawn || !box.open) return;
    if (document.readyState === "loading") return document.addEventListener("DOMContentLoaded", fill); // its data may come later
    drawn = true;
    box.append(make("div", { class: "folded" }, draw()));
  };
  box.addEventListener("toggle", fill);
  fill();
  return box;
}

// A list of any length: its first items, and a button for more.
function makeList(list, items, draw, size = 100) {
  let at = 0;
  const more = make("button", { type: "button", class: "link more" });
  const showMore = () => {
    list.append(...items.slice(at, at + size).map((item, index) => draw(item, at + index)));
    at = Math.min(items.length, at + size);
    more.hidden = at === items.length;
    more.textContent = `Show more (${tellNumber(items.length - at)} left)`;
  };
  more.addEventListener("click", showMore);
  showMore();
  return items.length > at ? [list, more] : [list];
}

function selectText(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

// A command with a button that copies it. Where a page may not write to the clipboard, the command is selected.
function makeCommand(text) {
  const code = make("code", { class: "command-text" }, text);
  const button = make("button", { type: "button", class: "button small" }, "Copy");
  const told = make("span", { class: "unseen", role: "status" });
  const tell = (label, long) => {
    button.textContent = label;
    told.textContent = long;
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  };
  const copyOld = () => {
    selectText(code);
    if (document.execCommand("copy")) tell("Copied", "The command is copied");
    else tell("Selected", "The command is selected: copy it with Ctrl+C");
  };
  button.addEventListener("click", () => {
    if (!navigator.clipboard) return copyOld();
    navigator.clipboard.writeText(text).then(() => tell("Copied", "The command is copied"), copyOld);
  });
  return make("div", { class: "command" }, code, button, told);
}

const ORDER_OF_STATES = ["missed", "refused", "pending", "unplayed", "faulted", "live", "recorded", "scripted", "replayed"];
const ORDER_OF_OUTCOMES = ["failed", "error", "interrupted", "xpassed", "rerun", "xfailed", "skipped", "passed"];
const badge = (name, text) => {
  const isKnown = ORDER_OF_STATES.includes(name) || ORDER_OF_OUTCOMES.includes(name);
  return make("span", { class: `badge ${isKnown ? name : "other"}` }, make("i", { "aria-hidden": "true" }), text || name);
};

function tryJson(text) {
  if (!/^\s*[[{"]/.test(text)) return undefined;
  try { return JSON.parse(text); } catch { return undefined; }
}
