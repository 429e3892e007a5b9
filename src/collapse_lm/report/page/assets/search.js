// Search: text or pattern inside the samples of chosen runs, block by block, with progress and an end.
"use strict";

const SampleSearch = (() => {
  const LISTED = 300;
  const SLICE = 25; // updates per call of the finder

  // jump(hit) shows {run, update, text}; found(search) is told whenever hits were added or dropped.
  function create(jump, found) {
    const search = { hits: [], counts: new Map(), pattern: null, turn: 0, query: "", re: false, jump, found, total: 0 };
    const { el } = App;
    search.input = el("input", { type: "search", id: "ex-q", spellcheck: "false", autocomplete: "off", maxlength: 500 });
    search.re = el("input", { type: "checkbox", id: "ex-re" });
    search.scope = el(
      "select",
      { id: "ex-scope" },
      el("option", { value: "run" }, "this run"),
      el("option", { value: "on" }, "runs that are shown"),
      el("option", { value: "all" }, "all runs"),
    );
    search.status = el("p", { class: "ex-status", role: "status" });
    search.progress = el("progress", { hidden: true, max: 1, "aria-label": "Progress of the search" });
    search.cancel = el("button", { type: "button", hidden: true, on: { click: () => stop(search, "stopped") } }, "stop");
    search.list = el("ol", { class: "ex-hitlist", tabindex: 0, "aria-label": "Hits" });
    search.list.hidden = true;
    search.form = el(
      "form",
      { class: "ex-search", role: "search", on: { submit: (event) => submit(search, event) } },
      el("label", { for: "ex-q" }, "Search in samples"),
      search.input,
      el("label", { class: "ex-check" }, search.re, " pattern"),
      el("label", { for: "ex-scope", class: "ex-check" }, "in "),
      search.scope,
      el("button", { type: "submit" }, "search"),
      search.cancel,
      search.progress,
    );
    search.input.addEventListener("input", () => {
      if (!search.input.value) submit(search);
    });
    search.list.addEventListener("keydown", (event) => walk(search, event));
    search.node = el("div", { class: "ex-searching" }, search.form, search.status, search.list);
    return {
      node: search.node,
      update: (state, page) => update(search, state, page),
      again: () => run(search),
      countsOf: (id) => search.counts.get(id) || null,
      ranges: (texts) => (search.pattern ? Finder.find(search.pattern, texts) : null),
    };
  }

  function submit(search, event) {
    event?.preventDefault();
    const query = search.input.value;
    search.asked = search.scope.value;
    if (query === (App.state.get("q") || "") && search.re.checked === App.state.get("re")) run(search);
    else App.state.set({ q: query || null, re: query ? search.re.checked : null });
  }

  // The state's query; a search begins where it changed.
  function update(search, state, page) {
    search.scope.parentElement.classList.toggle("ex-single", page.runs.length < 2);
    search.scope.hidden = page.runs.length < 2;
    search.scope.previousElementSibling.hidden = page.runs.length < 2;
    const key = JSON.stringify([state.q || "", state.re]);
    if (key === search.key) return;
    search.key = key;
    if (document.activeElement !== search.input || state.q) search.input.value = state.q || "";
    search.re.checked = Boolean(state.re);
    run(search);
  }

  function stop(search, word) {
    search.turn += 1;
    search.progress.hidden = true;
    search.cancel.hidden = true;
    if (word) tell(search, word);
  }

  function chosenRuns(search) {
    const page = App.source.page();
    const here = App.state.get("run");
    const scope = search.asked || "run";
    if (page.runs.length < 2 || scope === "run") return page.runs.filter((one) => one.id === here);
    const off = new Set(App.state.get("off"));
    return scope === "all" ? page.runs : page.runs.filter((one) => !off.has(one.id));
  }

  async function run(search) {
    stop(search);
    Object.assign(search, { hits: [], total: 0, counts: new Map(), pattern: null });
    App.clear(search.list);
    search.list.hidden = true;
    search.status.textContent = "";
    search.status.classList.remove("ex-wrong");
    const query = App.state.get("q");
    search.found();
    if (!query) return;
    const pattern = Words.pattern(query, App.state.get("re"));
    if (pattern.error) {
      wrong(search, pattern.error);
      return;
    }
    search.pattern = { ...pattern, isRegExp: App.state.get("re") };
    const { turn } = search;
    const runs = chosenRuns(search);
    const work = runs.flatMap((one) => one.samples.blocks.map((block) => [one, block]));
    search.progress.hidden = search.cancel.hidden = false;
    search.progress.max = Math.max(1, work.length);
    search.progress.value = 0;
    try {
      for (const [one, block] of work) {
        await inBlock(search, turn, one, block);
        if (turn !== search.turn) return;
        search.progress.value += 1;
        tell(search, "so far");
        search.found();
        await new Promise((resolve) => setTimeout(resolve));
      }
      stop(search, "");
    } catch (error) {
      if (turn !== search.turn) return;
      stop(search);
      search.pattern = null;
      wrong(search, error.message);
    }
    tellEnd(search);
    search.found();
  }

  async function inBlock(search, turn, one, [id, first]) {
    const { samples } = await App.source.block(id);
    for (let from = 0; from < samples.length && turn === search.turn; from += SLICE) {
      const places = samples.slice(from, from + SLICE).flatMap((texts, i) => texts.map((text, index) => ({ update: one.samples.updates[first + from + i], index, text: text.text })));
      const found = await Finder.find(search.pattern, places.map((place) => place.text));
      if (turn !== search.turn) return;
      places.forEach((place, i) => found[i].length && add(search, one, place, found[i]));
    }
  }

  function add(search, one, place, ranges) {
    const counts = search.counts.get(one.id) || new Map();
    search.counts.set(one.id, counts);
    counts.set(place.update, (counts.get(place.update) || 0) + ranges.length);
    search.total += ranges.length;
    if (search.hits.length >= LISTED) return;
    const hit = { run: one.id, update: place.update, text: place.index, count: ranges.length };
    search.hits.push(hit);
    search.list.hidden = false;
    search.list.append(item(search, one, hit, place.text, ranges[0]));
  }

  function item(search, one, hit, text, [start, end]) {
    const { before, hit: found, after } = Words.snippet(text, start, end);
    const many = App.source.page().runs.length > 1;
    const where = `${many ? `${Words.plain(one.label || one.name)} · ` : ""}update ${hit.update}${hit.count > 1 ? ` · ${hit.count} hits` : ""}`;
    const button = App.el(
      "button",
      { type: "button", on: { click: () => search.jump(hit) } },
      App.el("span", { class: "ex-where" }, where),
      App.el("bdi", { class: "ex-snippet" }, before, App.el("mark", { class: "ex-hit" }, found), after),
    );
    return App.el("li", {}, button);
  }

  // Arrow keys go from hit to hit.
  function walk(search, event) {
    const direction = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    event.stopPropagation();
    const buttons = [...search.list.querySelectorAll("button")];
    const now = buttons.indexOf(document.activeElement);
    buttons[Math.max(0, Math.min(buttons.length - 1, now + direction))]?.focus();
  }

  function tell(search, ending) {
    const updates = [...search.counts.values()].reduce((sum, counts) => sum + counts.size, 0);
    const hits = search.total === 1 ? "1 hit" : `${search.total} hits`;
    const where = updates === 1 ? "in 1 update" : `in ${updates} updates`;
    const listed = search.hits.length >= LISTED ? `; the first ${LISTED} samples are listed` : "";
    search.status.textContent = search.total ? `${hits} ${where}${ending ? `, ${ending}` : ""}${listed}` : ending ? `no hit ${ending}` : "no hit";
  }

  function tellEnd(search) {
    if (search.status.classList.contains("ex-wrong")) return;
    const thinned = chosenRuns(search).some((one) => one.samples.thinned);
    tell(search, thinned ? "among the samples that this page keeps" : "");
  }

  function wrong(search, text) {
    search.status.classList.add("ex-wrong");
    search.status.textContent = text;
  }

  return { create };
})();
