"use strict";
// Fills the page: one stream of events for what happens now, and the ledger for what was. Texts of models and
// clients are only ever set as text.

(() => {
  const ROWS = 50; // requests in the table at once
  const LIVE = 100; // ended requests that are kept here where the server keeps no ledger
  const WINDOW_S = 600; // of the plots
  const SILENCE_MS = 15000; // the server sends an event every second
  const KEY = "fortieth-key";
  const byId = (id) => document.getElementById(id);
  const state = { server: null, opened: "", samples: [], live: [], rows: [], older: false, engine: null, seen: new Set(), filters: { verdict: "", session: "" } };

  // ---- making elements

  function el(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children.filter((one) => one !== null && one !== undefined && one !== ""));
    return made;
  }
  const cell = (text, className = "") => el("td", { className }, String(text ?? ""));
  const facts = (pairs) => pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value instanceof Node ? value : String(value))]);
  const fill = (id, ...children) => byId(id).replaceChildren(...children);
  const none = (columns, words) => el("tr", {}, Object.assign(cell(words, "empty"), { colSpan: columns }));

  // ---- words for figures

  const count = (value) => (value ?? 0).toLocaleString("en");
  const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)}%` : "");
  const seconds = (value) => (value === null || value === undefined ? "" : value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`);
  const time = (at) => new Date(at * 1000).toLocaleTimeString();
  const moment = (at) => new Date(at * 1000).toLocaleString();
  function bytes(value) {
    const units = ["B", "KB", "MB", "GB", "TB"];
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
  }
  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
  }
  const middle = (text, most = 28) => (text.length <= most ? text : `${text.slice(0, most - 9)}…${text.slice(-8)}`);

  // ---- asking the server

  function headers() {
    const key = sessionStorage.getItem(KEY);
    // a header takes bytes: those of the key in UTF-8
    return key ? { authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}` } : {};
  }
  async function ask(path) {
    const answer = await fetch(path, { headers: headers(), cache: "no-store" });
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
  }
  function tell(words, bad = false) {
    const place = byId("status");
    place.className = bad ? "bad" : "";
    if (place.textContent !== words) place.textContent = words;
  }
  function askForKey() {
    byId("key-error").hidden = !sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
    byId("page").hidden = true;
    byId("key-form").hidden = false;
    byId("key").focus();
    tell("The server wants its API key.");
  }

  async function listen() {
    for (let wait = 1; ; wait = Math.min(10, wait * 2)) {
      const stop = new AbortController();
      let alarm = setTimeout(() => stop.abort(), SILENCE_MS);
      try {
        const answer = await fetch("/v1/fortieth/events", { headers: headers(), signal: stop.signal, cache: "no-store" });
        if (answer.status === 401) { clearTimeout(alarm); return askForKey(); }
        if (!answer.ok) throw new Error(String(answer.status));
        byId("key-form").hidden = true;
        byId("page").hidden = false;
        for await (const event of events(answer.body)) {
          clearTimeout(alarm);
          alarm = setTimeout(() => stop.abort(), SILENCE_MS);
          wait = 1;
          try {
            take(event);
          } catch (error) {
            console.error(error); // a defect of the page, and no reason to connect again
          }
          tell(state.engine && state.engine.state !== "ready" ? `Connected. The engine is ${state.engine.state}.` : "Connected.");
        }
      } catch {
        // the server has gone, or says nothing any more
      }
      clearTimeout(alarm);
      tell(`No connection to the server. Trying again in ${wait} s.`, true);
      await new Promise((done) => setTimeout(done, wait * 1000));
    }
  }
  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: ")) yield JSON.parse(block.slice(6));
    }
  }

  // ---- what an event changes

  function take(event) {
    const first = Boolean(event.server);
    if (first) {
      state.server = event.server;
      state.samples = event.samples;
      state.live = [];
      state.seen.clear();
      showModel();
    }
    state.engine = event.engine;
    if (event.sample) state.samples.push(event.sample);
    const from = (state.samples.at(-1)?.at ?? 0) - WINDOW_S;
    state.samples = state.samples.filter((one) => one.at >= from);
    const fresh = event.ended.filter((one) => !state.seen.has(one.number));
    for (const one of fresh) {
      state.seen.add(one.number);
      state.live.unshift(one);
    }
    state.live.splice(LIVE);
    if (state.seen.size > 4 * LIVE) state.seen = new Set(state.live.map((one) => one.number));
    showTiles(event);
    showCache();
    showRunning(event.running);
    if (event.sessions) showSessions(event.sessions);
    if (first && !state.older) newest();
    else if (!first && (fresh.length || event.skipped)) arrived(fresh, event.skipped);
    showPlots();
  }

  function showModel() {
    const { server } = state;
    byId("version").textContent = server.version;
    const model = server.models[0];
    const others = server.models.slice(1).map((one) => one.id).join(", ");
    fill("model", ...facts([
      ["Model", model.id],
      ["Wire format of calls", model.format],
      ["Architecture", model.family],
      ["Context", model.context ? `${count(model.context)} tokens` : ""],
      ["Guard", server.mode],
      ["Other models", others],
    ]));
  }

  function showTiles({ totals, running }) {
    const last = state.samples.at(-1);
    const minute = state.samples.filter((one) => one.at > (last?.at ?? 0) - 60);
    const first = median(minute.flatMap((one) => one.ttft));
    const verdicts = ["clean", "repaired", "reasked", "failed", "none", "unjudged"].filter((one) => totals.verdicts[one]).map((one) => `${one} ${count(totals.verdicts[one])}`);
    const ended = Object.values(totals.requests).reduce((a, b) => a + b, 0);
    const tiles = [
      ["Running", count(running.length)],
      ["Waiting for a place", state.engine ? count(state.engine.waiting) : ""],
      ["Tokens a second", last ? last.tokens_s.toFixed(last.tokens_s < 10 ? 1 : 0) : ""],
      ["First token, median of a minute", first === null ? "" : seconds(first)],
      ["Requests", `${count(ended)}${totals.requests.failed ? `, ${count(totals.requests.failed)} failed` : ""}${totals.requests.abandoned ? `, ${count(totals.requests.abandoned)} left` : ""}`],
      ["Verdicts", verdicts.join(", "), "long"],
      ["Asked again", count(Math.max(0, totals.attempts - ended))],
      ["Token loops stopped", count(totals.repeated)],
      ["Prompt tokens reused", share(totals.cached, totals.prompt)],
      ["Engine restarts", state.engine?.restarts ? count(state.engine.restarts) : ""],
    ];
    fill("tiles", ...tiles.filter(([, value]) => value !== "").map(([name, value, className]) => el("div", {}, el("dt", {}, name), el("dd", { className: className ?? "" }, value))));
  }

  function showPlots() {
    const at = state.samples.map((one) => one.at);
    const rates = state.samples.map((one) => one.tokens_s);
    const firsts = state.samples.flatMap((one) => one.ttft.map((value) => [one.at, value]));
    plots.throughput.show([at, rates], `Tokens a second: ${rates.at(-1) ?? 0} now, at most ${Math.max(0, ...rates)} in the last ten minutes`);
    // the same span of time as the other plot has
    const span = at.length ? [[at[0], null], ...firsts, [at.at(-1), null]] : [];
    const last = firsts.at(-1);
    plots.ttft.show([span.map((one) => one[0]), span.map((one) => one[1])], last ? `Seconds to the first token: ${seconds(last[1])} in the last generation` : "Seconds to the first token: no generation yet");
  }

  function showCache() {
    const cache = state.engine?.cache;
    byId("cache-section").hidden = !cache;
    if (!cache) return;
    const asked = cache.from_ram + cache.from_disk + cache.from_nothing;
    const tier = (name, used, limit, from) => {
      const inner = el("div");
      inner.style.width = `${limit ? Math.min(100, (100 * used) / limit) : 0}%`;
      const words = `${bytes(used)} of ${bytes(limit)}, ${count(from)} of ${count(asked)} prompts`;
      return [el("span", {}, name), el("span", { className: "bar" }, inner), el("span", {}, limit ? words : "off")];
    };
    const rows = el("div", { className: "tier" }, ...tier("RAM", cache.ram_bytes, cache.ram_budget, cache.from_ram), ...tier("Disk", cache.disk_bytes, cache.disk_limit, cache.from_disk));
    const words = [
      `${count(cache.from_nothing)} of ${count(asked)} prompts had no prefix in it.`,
      cache.prompt_tokens ? `${share(cache.reused_tokens, cache.prompt_tokens)} of ${count(cache.prompt_tokens)} prompt tokens were reused.` : "",
      cache.evicted || cache.evicted_disk ? `Evicted: ${count(cache.evicted)} segments from RAM, ${count(cache.evicted_disk)} from disk.` : "",
      cache.readonly ? `Nothing is written to disk: ${cache.readonly}` : "",
    ];
    fill("cache", rows, el("p", { className: "note" }, words.filter(Boolean).join(" ")));
  }

  function showRunning(running) {
    const now = state.samples.at(-1)?.at ?? Date.now() / 1000; // the server's clock, where it is known
    const rows = running.slice(0, ROWS).map((one) => el("tr", {},
      cell(seconds(Math.max(0, now - one.at)), "fixed"), cell(one.phase), cell(middle(one.session)), cell(one.turn, "number"),
      cell(one.model, "wide"), cell(middle(one.request_id), "wide mono")));
    const more = running.length - rows.length;
    if (more > 0) rows.push(none(6, `and ${count(more)} more`));
    fill("running", ...(rows.length ? rows : [none(6, "None.")]));
  }

  function showSessions(sessions) {
    byId("sessions-note").hidden = sessions.length < 50;
    const focused = document.activeElement?.dataset?.session;
    fill("sessions", ...(sessions.length ? sessions.map(sessionRow) : [none(8, "None yet.")]));
    // the table is made anew: who was on one of its buttons stays there
    if (focused !== undefined) [...byId("sessions").querySelectorAll("button")].find((one) => one.dataset.session === focused)?.focus();
  }
  function sessionRow(one) {
    const button = el("button", { className: "link", type: "button", title: `Requests of ${one.id}` }, middle(one.id));
    button.dataset.session = one.id;
    button.addEventListener("click", () => select({ verdict: "", session: one.id }));
    const miss = one.last_miss ? [one.last_miss.cause, el("span", { className: "wide" }, `: ${one.last_miss.advice}`)] : [];
    const kept = one.cache ? `${one.cache.tier}, ${count(one.cache.tokens)} tokens${one.cache.pinned ? ", pinned" : ""}` : "";
    return el("tr", {}, el("td", {}, button), cell(one.turns, "number"), cell(count(one.prompt_tokens), "number wide"),
      cell(share(one.cached_tokens, one.prompt_tokens), "number"), el("td", {}, ...miss), cell(one.drifted ? "constrained" : "", "wide"),
      cell(kept, "wide"), cell(time(one.last_seen), "wide fixed"));
  }

  // ---- the table of requests

  const keyOf = (one) => `${one.request_id} ${one.timings.total}`;
  const fits = (one) => (!state.filters.verdict || one.verdict === state.filters.verdict) && (!state.filters.session || one.session === state.filters.session);
  const selected = () => Object.entries(state.filters).filter(([, value]) => value);

  function merge(rows) {
    const seen = new Set();
    return rows.filter((one) => fits(one) && !seen.has(keyOf(one)) && seen.add(keyOf(one)));
  }
  async function fetchRows(before) {
    const query = new URLSearchParams({ limit: ROWS, ...Object.fromEntries(selected()), ...(before ? { before } : {}) });
    return (await ask(`/v1/fortieth/requests?${query}`)).data;
  }
  async function newest() {
    state.older = false;
    const kept = state.server.ledger ? await fetchRows().catch(failed) : [];
    if (!kept) return;
    const rows = merge([...state.live, ...kept]);
    // where there is a ledger the newest of it and of what has just ended, else all that is known here
    state.rows = state.server.ledger ? rows.slice(0, ROWS) : rows;
    showRows();
  }
  async function older() {
    let oldest = state.rows.at(-1)?.id;
    if (oldest === undefined) oldest = (await fetchRows().catch(failed))?.at(-1)?.id;
    const rows = oldest === undefined ? null : await fetchRows(oldest).catch(failed);
    if (!rows) return;
    state.older = true;
    state.rows = rows;
    showRows();
    byId("requests-heading").focus();
  }
  function failed(error) {
    byId("requests-note").textContent = `The ledger could not be read (${error.message}).`;
    return null;
  }
  function arrived(fresh, skipped) {
    if (state.older) return;
    state.rows = merge([...fresh.slice().reverse(), ...state.rows]).slice(0, state.server.ledger ? ROWS : LIVE);
    showRows(skipped);
  }
  function showRows(skipped = 0) {
    const focused = document.activeElement?.dataset?.row;
    fill("requests", ...(state.rows.length ? state.rows.map(requestRow) : [none(12, "None.")]));
    if (focused !== undefined) rowButton(focused)?.focus();
    const chosen = selected().map(([name, value]) => `${name} ${value}`).join(", ");
    const words = [
      state.older ? `${count(state.rows.length)} earlier requests` : `The newest ${count(state.rows.length)} requests`,
      chosen ? `with ${chosen}` : "",
      !state.server.ledger ? "(the server keeps no ledger: earlier ones are forgotten)" : "",
      skipped ? `(${count(skipped)} more ended within the last second)` : "",
    ];
    const note = `${words.filter(Boolean).join(" ")}.`;
    if (byId("requests-note").textContent !== note) byId("requests-note").textContent = note;
    byId("paging").hidden = !state.server.ledger;
    byId("newest").disabled = !state.older;
    byId("older").disabled = state.rows.length < ROWS;
  }
  const rowButton = (key) => [...byId("requests").querySelectorAll("button")].find((one) => one.dataset.row === key);
  function requestRow(one) {
    const button = el("button", { className: "link", type: "button" }, time(one.at));
    button.dataset.row = keyOf(one);
    button.addEventListener("click", () => open(one));
    const end = one.ending === "finished" ? one.reason : one.ending;
    return el("tr", {}, el("td", { className: "fixed" }, button), cell(one.verdict, `fixed ${one.verdict}`), cell(end, `fixed ${one.ending}`), cell(one.attempts.length, "number"),
      cell(one.calls, "number wide"), cell(middle(one.session, 20), "wide"), cell(one.turn, "number wide"), cell(count(one.usage.prompt_tokens), "number wide"),
      cell(share(one.usage.cached_tokens, one.usage.prompt_tokens), "number wide"), cell(count(one.usage.completion_tokens), "number wide"),
      cell(seconds(one.timings.first), "number wide"), cell(seconds(one.timings.total), "number"));
  }

  function select(filters) {
    state.filters = filters;
    byId("verdict").value = filters.verdict;
    byId("session").value = filters.session;
    newest();
    byId("requests-heading").scrollIntoView();
  }

  // ---- one request

  function open(one) {
    state.opened = keyOf(one);
    byId("detail-heading").textContent = one.request_id;
    const cache = one.cache;
    const { usage, timings } = one;
    const body = [
      el("dl", { className: "facts" }, ...facts([
        ["Ended", moment(one.at)], ["Model", one.model], ["Session", `${one.session}, turn ${one.turn}`],
        ["Guard", one.mode], ["Wire format", one.format], ["Verdict", one.verdict],
        ["End", [one.ending, one.reason].filter(Boolean).join(", ")], ["Error", one.error],
        ["Calls delivered", one.calls], ["Gave up", one.given_up],
        ["Calls against their schemas", one.invalid || one.handed_over || ""],
        ["Tokens", `prompt ${count(usage.prompt_tokens)} (${count(usage.cached_tokens)} reused), answer ${count(usage.completion_tokens)}`],
        ["Time", `${seconds(timings.total)}${timings.first === null ? "" : `, first output after ${seconds(timings.first)}`}${timings.reasking ? `, asking again ${seconds(timings.reasking)}` : ""}`],
        ["Prefix", cache ? `${count(cache.reused)} of ${count(cache.total)} tokens from ${cache.tier}${cache.cause === "none" ? "" : `; no more because: ${cache.cause}`}` : ""],
        ["Loop", one.looping ? "the history held a repeated call, and the model was told" : ""],
        ["Drift", one.drifted ? "the session was decoded under constraint" : ""],
        ["Warnings", one.warnings.join("; ")],
      ])),
    ];
    if (cache && (cache.before || cache.now)) body.push(el("h3", {}, "Where the prompt left the earlier one"), change("", cache.before, cache.now, "earlier prompt", "this prompt"));
    body.push(el("h3", {}, "What was changed"), ...changes(one.fixes, "Nothing of what was delivered was changed."));
    if (one.problems.length) body.push(el("h3", {}, "What was not delivered, and why"), problems(one.problems));
    one.attempts.forEach((attempt, number) => body.push(attemptPart(attempt, number)));
    byId("detail-body").replaceChildren(...body);
    byId("detail").showModal();
    byId("detail").scrollTop = 0;
    byId("detail-heading").focus();
  }
  function attemptPart(one, number) {
    const part = el("section", { className: "attempt" }, el("h3", {}, `Attempt ${number + 1}${one.way ? `, asked by ${one.way}` : ""}`));
    part.append(el("dl", { className: "facts" }, ...facts([
      ["Verdict", one.verdict ?? "not judged"], ["Error", one.error], ["Time", seconds(one.seconds)],
      ["Tokens", `prompt ${count(one.usage.prompt_tokens)}, answer ${count(one.usage.completion_tokens)}`],
      ["Grammar", one.constrained ? (one.unconstrained ? "asked for, not held" : "held") : ""],
      ["Token loop", one.repeated ? "stopped: the text repeated itself" : ""],
      ["Answered by", one.asked.at(-1)],
    ])));
    if (one.problems.length) part.append(el("h4", {}, "Problems"), problems(one.problems));
    if (one.fixes.length) part.append(el("h4", {}, "Repairs"), ...changes(one.fixes, ""));
    if (one.text) part.append(el("h4", {}, "Written until it was broken off"), el("pre", {}, one.text));
    return part;
  }
  const problems = (list) => el("ul", {}, ...list.map((one) => el("li", {}, el("code", {}, `${one.rule} at ${one.path || "/"}`), ` ${one.message}`)));
  const changes = (fixes, otherwise) => (fixes.length ? fixes.map((one) => change(`${one.kind} at ${one.path || "/"}`, one.before, one.after)) : [el("p", { className: "note" }, otherwise)]);
  function change(what, before, after, left = "before", right = "after") {
    return el("div", { className: "change" }, what ? el("code", { className: "what" }, what) : null,
      el("div", {}, el("div", { className: "side" }, left), el("pre", {}, before || " ")), el("div", {}, el("div", { className: "side" }, right), el("pre", {}, after || " ")));
  }

  // ---- what a person does

  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("key").value);
    byId("key").value = "";
    listen();
  });
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    select({ verdict: byId("verdict").value, session: byId("session").value.trim() });
  });
  byId("filters").addEventListener("reset", () => select({ verdict: "", session: "" }));
  byId("newest").addEventListener("click", newest);
  byId("older").addEventListener("click", older);
  byId("close").addEventListener("click", () => byId("detail").close());
  byId("detail").addEventListener("close", () => (rowButton(state.opened) ?? byId("requests-heading")).focus());

  if ("keyed" in document.documentElement.dataset && !sessionStorage.getItem(KEY)) askForKey();
  else listen();
})();
