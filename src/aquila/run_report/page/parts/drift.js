// Draws how a request differs from a recording. The page of a review calls drawWords.

const AROUND = 160; // characters of unchanged text that are shown beside a change
const KINDS = ["same", "removed", "added"];

// Turns the stored list, a code and a length in turn, into pieces [kind, text].
function cutWords(was, now, lengths) {
  const pieces = [];
  let before = 0, after = 0;
  for (let at = 0; at < lengths.length; at += 2) {
    const kind = KINDS[lengths[at]], length = lengths[at + 1];
    pieces.push([kind, kind === "added" ? now.slice(after, after + length) : was.slice(before, before + length)]);
    if (kind !== "added") before += length;
    if (kind !== "removed") after += length;
  }
  return pieces;
}

// Hides the middle of a long unchanged text behind a button.
function foldSame(text, isFirst, isLast) {
  const head = isFirst ? 0 : AROUND, tail = isLast ? 0 : AROUND;
  if (text.length <= head + tail + 300) return [showUnseen(text)];
  let from = head, to = text.length - tail;
  const end = from && text.slice(from, from + 60).search(/\s/), begin = tail && text.slice(to - 60, to).search(/\s\S*$/);
  if (end > 0) from += end;
  if (begin >= 0 && tail) to += begin - 59;
  const hidden = text.slice(from, to);
  const button = make("button", { type: "button", class: "words-fold" }, `\u22ef ${tellNumber(hidden.length)} characters are the same`);
  button.addEventListener("click", () => button.replaceWith(make("span", null, cutText(hidden, 100_000))));
  return [showUnseen(text.slice(0, from)), button, showUnseen(text.slice(to))];
}

// Draws removed and added texts. Signs tell them apart without colours, hidden words tell them to screen readers.
function drawWords(pieces) {
  const place = make("pre", { class: "words", dir: "auto" });
  pieces.forEach(([kind, text], at) => {
    if (kind === "same") return place.append(...foldSame(text, at === 0, at === pieces.length - 1));
    const [tag, sign, word] = kind === "removed" ? ["del", "\u2212", "removed: "] : ["ins", "+", "added: "];
    const lead = /^[ \t]{0,3}/.exec(text)[0]; // so that the sign stands beside its word
    place.append(
      make(tag, null, make("span", { class: "unseen" }, word), lead, make("b", { "aria-hidden": "true" }, sign), cutText(text, 20_000).slice(lead.length), make("span", { class: "unseen" }, " ")),
    );
  });
  return place;
}

function drawPair(was, now, lengths, readText) {
  const old = was === undefined ? undefined : readText(was), fresh = now === undefined ? undefined : readText(now);
  if (old !== undefined && fresh !== undefined && lengths) return drawWords(cutWords(old, fresh, lengths));
  const pieces = [];
  if (old !== undefined) pieces.push(["removed", old]);
  if (fresh !== undefined) pieces.push(["added", fresh]);
  return drawWords(pieces);
}

// Whether the diff of the prompt has shown a change already.
function isShown(change, [before, after], readText) {
  if (change.was === undefined || change.now === undefined) return false;
  const was = readText(change.was), now = readText(change.now);
  return was.length > 20 && now.length > 20 && before.includes(was) && after.includes(now);
}

function drawChange(change, readText, prompts) {
  const kind = change.was === undefined ? "only now" : change.now === undefined ? "only in the recording" : "";
  return make("div", { class: "drift-change" },
    make("dt", null, make("code", null, change.path || "the request"), kind && make("span", { class: "quiet" }, ` ${kind}`)),
    make("dd", null, isShown(change, prompts, readText) ? make("p", { class: "quiet drift-seen" }, "as shown above") : drawPair(change.was, change.now, change.words, readText)));
}

function drawDrift(drift, readText) {
  const box = make("section", { class: "drift", "aria-label": "What differs from the nearest recording" });
  box.append(make("h4", { class: "drift-title" }, "Differs from the nearest recording",
    make("span", { class: "quiet" }, `number ${drift.number} of `, make("code", null, drift.cassette))));
  if (drift.prompt_was !== undefined || drift.prompt_now !== undefined) {
    box.append(make("h5", null, "Prompt"), drawPair(drift.prompt_was, drift.prompt_now, drift.prompt_words, readText));
  }
  const changes = drift.changes || [];
  if (changes.length) {
    const list = make("dl", { class: "drift-changes" });
    const prompts = [drift.prompt_was, drift.prompt_now].map((text) => (text === undefined ? "" : readText(text)));
    box.append(make("h5", null, tellCount(changes.length, "field differs", "fields differ")),
      ...makeList(list, changes, (change) => drawChange(change, readText, prompts), 30));
  }
  if (drift.answer_was !== undefined) {
    box.append(make("h5", null, "Answer of the recording"), makeText(readText(drift.answer_was), { class: "drift-answer" }));
  }
  return box;
}
