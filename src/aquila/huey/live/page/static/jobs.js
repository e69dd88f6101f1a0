// Puts what is new into an open page. The server escapes everything, and text is only ever set as text.
"use strict";

(() => {
  const skew = { value: 0 };
  const connection = document.getElementById("connection");
  let live = document.body.dataset.live;
  if (live && live.endsWith("/live") && location.search) live += location.search;

  // Times. The server writes them in full, and this shows them as a reader wants them: "12 s ago".
  const now = () => Date.now() / 1000 + skew.value;
  const shorten = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };
  const last = (seconds) => {
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    const whole = Math.floor(seconds);
    if (seconds < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  };
  const tellTimes = (root) => {
    for (const time of root.querySelectorAll("time[data-at]")) {
      if (!time.title) time.title = time.textContent;
      const ago = now() - Number(time.dataset.at);
      const text = ago < -1 ? `in ${shorten(-ago)}` : ago < 1.5 ? "now" : `${shorten(ago)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
    for (const since of root.querySelectorAll("[data-since]")) {
      const text = last(Math.max(0, now() - Number(since.dataset.since)));
      if (since.textContent !== text) since.textContent = text;
    }
  };

  // Replaces a part of the page. What is open stays open, and what has the focus keeps it.
  const nameOf = (element) => element.id || (element.name ? `${element.name}=${element.value}` : element.parentElement.dataset.key || "");
  const replace = (place, html) => {
    const selection = getSelection();
    if (!selection.isCollapsed && place.contains(selection.anchorNode)) return false; // somebody is copying
    const open = new Set([...place.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    const focused = place.contains(document.activeElement) ? nameOf(document.activeElement) : "";
    const box = document.createElement("template");
    box.innerHTML = html;
    for (const one of box.content.querySelectorAll("details")) if (open.has(one.dataset.key)) one.open = true;
    tellTimes(box.content);
    place.replaceChildren(box.content);
    if (focused) {
      const again = [...place.querySelectorAll("a, button, summary")].find((one) => nameOf(one) === focused);
      if (again) again.focus({ preventScroll: true });
    }
    return true;
  };

  // What came while somebody had text selected, by the id of its place.
  const refused = new Map();
  const put = (id) => (html) => {
    const place = document.getElementById(id);
    const done = !place || replace(place, html);
    if (done) refused.delete(id);
    else refused.set(id, html);
    return done;
  };
  document.addEventListener("selectionchange", () => {
    if (!refused.size || !getSelection().isCollapsed) return;
    const late = [...refused];
    refused.clear();
    for (const [id, html] of late) {
      if (id === "answers") reconnect(0); // with the text that came since
      else put(id)(html);
    }
  });

  const isAtEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const append = (kind, { run, text }) => {
    if (refused.has("answers")) return; // all of it comes again when nothing is selected any more
    const places = [...document.querySelectorAll(`pre[data-kind="${kind}"]`)];
    const place = places.find((one) => one.dataset.run === run);
    if (!place) return reconnect(0); // the beginning of this text is not here: ask for all of it
    const follows = isAtEnd(place);
    place.append(document.createTextNode(text));
    if (follows) place.scrollTop = place.scrollHeight;
  };
  const showEnds = () => {
    for (const place of document.querySelectorAll("pre.growing")) place.scrollTop = place.scrollHeight;
  };

  const tell = (text, state) => {
    if (!connection) return;
    connection.hidden = false;
    connection.className = `connection ${state}`;
    connection.textContent = text;
  };

  // A screen reader reads out the state of the job. It does not read out the answer, which comes faster than speech.
  const news = document.getElementById("news");
  const stateOf = () => document.querySelector("#job .badge")?.textContent.trim();
  let state = stateOf();
  const tellState = () => {
    if (!news || stateOf() === state) return;
    state = stateOf();
    news.textContent = `${document.querySelector("#job h1").textContent}: ${state}`;
  };

  // The stream. Browsers connect again by themselves, unless they were refused; then we do.
  let source = null, number = "", timer = 0, heard = 0;
  const LONGEST_SILENCE = 45000; // milliseconds; the server says something every 15 seconds
  const address = () => {
    if (!number) return live;
    const url = new URL(live, location.href);
    if (url.searchParams.has("after")) url.searchParams.set("after", number);
    return url.href;
  };
  const lookAgain = async () => {
    // A stream does not say why it was refused, for example because too many are open. The page does, and has what is new.
    const answer = await fetch(location.href).catch(() => null);
    if (answer && answer.status === 401) return tell("Signed out: load the page again", "off");
    const isThere = Boolean(answer && answer.ok);
    if (isThere) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of ["overview", "job", "answers"]) {
        const part = page.getElementById(id);
        if (part) put(id)(part.innerHTML);
      }
      tellState();
      showEnds();
      if (page.getElementById("job")) [live, number] = [page.body.dataset.live, ""]; // the next stream begins after that
    }
    if (!document.hidden) timer = setTimeout(connect, isThere ? 10000 : 3000);
  };
  const connect = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = new EventSource(address());
    heard = Date.now();
    source.onopen = () => { heard = Date.now(); tell("Live", "on"); };
    source.onerror = () => {
      tell("Connecting again", "off");
      if (source.readyState === EventSource.CLOSED) lookAgain();
    };
    const hear = (name, act) =>
      source.addEventListener(name, (event) => {
        heard = Date.now();
        const done = act(JSON.parse(event.data));
        if (event.lastEventId && done !== false) number = event.lastEventId;
      });
    hear("overview", put("overview"));
    hear("job", (html) => { const done = put("job")(html); tellState(); return done; });
    hear("answers", (html) => { const done = put("answers")(html); showEnds(); return done; });
    hear("text", (piece) => append("text", piece));
    hear("reasoning", (piece) => append("reasoning", piece));
    hear("alive", () => false);
    hear("gone", () => { source.close(); tell("This job was deleted", "off"); });
  };
  const reconnect = (after) => {
    number = String(after);
    connect();
    return false;
  };

  if (document.body.dataset.clock) skew.value = Number(document.body.dataset.clock) - Date.now() / 1000;
  tellTimes(document);
  setInterval(() => tellTimes(document), 500);
  showEnds();
  if (live && window.EventSource) {
    // A page that nobody sees needs no connection; browsers allow six to one server. It may be opened in the background.
    if (!document.hidden) connect();
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) {
        clearTimeout(timer);
        if (source) source.close();
        tell("Paused", "off");
      } else connect();
    });
    // After the machine has slept, a connection may be dead without the browser knowing.
    setInterval(() => {
      if (document.hidden || !source || source.readyState !== EventSource.OPEN || Date.now() - heard < LONGEST_SILENCE) return;
      tell("Connecting again", "off");
      connect();
    }, 5000);
    addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  }

  // Keys: / searches, j and k go through the jobs, Escape leaves the search.
  const name = document.getElementById("name");
  if (name) name.addEventListener("change", () => name.form.submit());
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const search = document.getElementById("search");
    if (event.key === "Escape" && event.target === search) event.preventDefault(); // Chromium would empty it
    if (event.key === "Escape" && typing) return event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && search) {
      event.preventDefault();
      return search.focus();
    }
    if (event.key !== "j" && event.key !== "k") return;
    const links = [...document.querySelectorAll("td.job a")];
    const at = links.indexOf(document.activeElement);
    const next = links[Math.max(0, at + (event.key === "j" ? 1 : -1))];
    if (next) next.focus();
  });
})();
