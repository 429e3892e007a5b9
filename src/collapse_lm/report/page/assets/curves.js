// The section of curves: panels of figures, which runs are shown, the x axis, zoom.
"use strict";

const Curves = (() => {
  const { el } = App;
  const OPEN_AT_FIRST = 3;
  const MOST_CHIPS = 24; // runs that have a chip without being asked for
  const BATCH = 4; // runs decoded between two looks at the screen
  let page = null;
  let root = null;
  let panels = [];
  let loading = 0; // the latest load; an older one stops
  const seen = new IntersectionObserver(onScreen, { rootMargin: "300px 0px" });
  const sized = new ResizeObserver((entries) => entries.forEach(({ target }) => target.figure?.resize()));

  const single = () => page.runs.length === 1;
  const shown = () => {
    const off = new Set(App.state.get("off"));
    return page.runs.map((run, i) => i).filter((i) => single() || !off.has(page.runs[i].id));
  };

  function mount(div, thePage) {
    page = thePage;
    root = div;
    seen.disconnect();
    sized.disconnect();
    panels = page.panels.map(panelOf);
    const chips = single() ? null : el("div", { class: "runs-shown", role: "group", "aria-label": "Runs shown" });
    App.clear(
      div, toolbar(), chips,
      el("p", { class: "muted note" }, note()),
      panels.map((panel) => panel.node),
    );
    if (chips) fillChips(chips);
    load();
  }

  function note() {
    const parts = ["Drag over a figure to zoom, double click to see all; click to choose the update."];
    if (page.groups.some((group) => group.runs.length > 1)) {
      parts.push("Thick: mean over seeds, drawn while all runs of the group are running. Band: one standard error each way from five runs on, else the range.");
    }
    if (page.runs.some((run) => Bands.finite(run.end?.collapse_update))) parts.push("A ring: the collapse update.");
    const kinds = (kind) => page.runs.some((run) => Object.keys(run.references?.[kind] || {}).length);
    if (kinds("human")) parts.push("Level dots: human text of the same length.");
    if (kinds("base")) parts.push("Level dashes: the base model.");
    return parts.join(" ");
  }

  function toolbar() {
    const axes = ["update", "dose", "seconds"].filter((x) => x !== "dose" || page.runs.some((run) => run.dose));
    const pick = el(
      "select", { id: "x-axis", on: { change: (event) => App.state.set({ x: event.target.value, zoom: null }) } },
      axes.map((x) => el("option", { value: x }, Charts.AXES[x])),
    );
    const all = el("button", { type: "button", class: "button", "data-zoom": "all", on: { click: () => App.state.set({ zoom: null }) } }, "Show all");
    return el(
      "div", { class: "row toolbar" },
      el("label", { for: "x-axis" }, "Horizontal axis "), pick,
      el("button", { type: "button", class: "button", "aria-label": "Zoom in at the update", on: { click: () => zoomBy(0.5) } }, "Zoom in"),
      el("button", { type: "button", class: "button", "aria-label": "Zoom out", on: { click: () => zoomBy(2) } }, "Zoom out"),
      all,
    );
  }

  // Keyboard's way to zoom: about the chosen update.
  function zoomBy(factor) {
    const x = App.state.get("x");
    const [low, high] = extent(x);
    const [from, to] = App.state.get("zoom") || [low, high];
    const run = App.source.run(App.state.get("run")) || page.runs[0];
    const rows = Charts.rowsOf(run);
    const at = rows ? Bands.lastAt(rows.update, App.state.get("u")) : -1;
    const middle = at >= 0 ? Charts.xsOf(rows, x)[at] : (from + to) / 2;
    const half = ((to - from) * factor) / 2;
    const ends = [Math.max(low, middle - half), Math.min(high, middle + half)];
    App.state.set({ zoom: ends[0] <= low && ends[1] >= high ? null : ends });
  }

  function extent(x) {
    let [low, high] = [Infinity, -Infinity];
    for (const i of shown()) {
      const rows = Charts.rowsOf(page.runs[i]);
      for (const value of rows ? Charts.xsOf(rows, x) : []) if (Bands.finite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    return low < high ? [low, high] : [0, 1];
  }

  // Chips: a group switches all of its runs, a run itself.
  function fillChips(box) {
    const one = (i) => chip([page.runs[i].id], page.runs[i].label, App.colour(i), App.dash(i), 2);
    const groups = page.groups.length > 1 ? page.groups.map((group) => {
      const i = page.runs.findIndex((run) => run.id === group.runs[0]);
      return chip(group.runs, group.label, App.colour(i), App.dash(i), 4);
    }) : [];
    const everything = el("button", { type: "button", class: "button", on: { click: () => App.state.set({ off: [] }) } }, "Show all runs");
    const runs = el("div", { class: "row chips" }, page.runs.map((run, i) => one(i)));
    const folded = page.runs.length > MOST_CHIPS || (groups.length && page.runs.length > 6);
    App.clear(
      box,
      el("div", { class: "row chips" }, groups, everything),
      folded ? el("details", { class: "plain" }, el("summary", {}, `${page.runs.length} runs, one by one`), runs) : runs,
    );
    press(box);
  }

  function chip(ids, label, colour, dash, thick) {
    return el(
      "button", { type: "button", class: "chip", dataset: { ids: ids.join(" ") }, on: { click: () => flip(ids) } },
      Figure.swatch(colour, dash, thick), el("span", { class: "entry-label", title: label }, label),
    );
  }

  function flip(ids) {
    const off = new Set(App.state.get("off"));
    const anyOn = ids.some((id) => !off.has(id));
    for (const id of ids) anyOn ? off.add(id) : off.delete(id);
    App.state.set({ off: [...off] });
  }

  function press(box) {
    const off = new Set(App.state.get("off"));
    for (const button of box.querySelectorAll("[data-ids]")) {
      const ids = button.dataset.ids.split(" ");
      const on = ids.filter((id) => !off.has(id)).length;
      button.setAttribute("aria-pressed", on === ids.length ? "true" : on ? "mixed" : "false");
    }
  }

  // What a figure of the panel holds: on a page of one run the names of one unit, else one name.
  function figuresOf(panel) {
    const errors = new Set(panel.names.map(Charts.errorName));
    const names = panel.names.filter((name) => !errors.has(name) && page.names[name]);
    if (!single()) return names.map((name) => [name]);
    return Bands.families(names, (name) => `${page.names[name].unit} ${page.names[name].kind}`);
  }

  function panelOf(panel, index) {
    const figures = figuresOf(panel).map((names) => figureOf(panel, names));
    const log = el("button", { type: "button", class: "button", "aria-pressed": "false", on: { click: () => toggleIn("log", panel.id) } }, "Log scale");
    const numbers = el("div", {});
    const table = el("button", { type: "button", class: "button", "aria-expanded": "false", on: { click: () => toggleTable(panel, table, numbers) } }, "Table");
    const csv = el("button", { type: "button", class: "button", on: { click: () => Csv.download(panel.title, ...tidy(panel)) } }, "CSV");
    const wanted = () => isOpen(panel.id, index);
    const node = el(
      "details", { class: "panel", dataset: { panel: panel.id }, prop: { open: wanted() }, on: { toggle: () => toggled(panel.id, index, node.open) } },
      el("summary", {}, el("h3", {}, panel.title)),
      el("div", { class: "row tools" }, log, table, csv),
      el("div", { class: "figures" }, figures.map((figure) => figure.node)),
      numbers,
    );
    return { ...panel, node, log, figures, wanted };
  }

  function figureOf(panel, names) {
    const figure = Figure.make(() => specOf(panel, names));
    const node = figure.node;
    node.figure = figure;
    figure.dirty = true;
    seen.observe(node);
    sized.observe(node);
    return figure;
  }

  function specOf(panel, names) {
    const state = App.state.get();
    const off = new Set(state.off);
    const meta = page.names[names[0]];
    const title = names.length === 1 && panel.names.length > 1 ? meta.title : "";
    return {
      page, title, panel: panel.title, unit: meta.unit, allNames: names, names: single() ? names.filter((name) => !off.has(name)) : names,
      runs: shown(), byName: single(), x: state.x, log: state.log.includes(panel.id), zoom: state.zoom,
    };
  }

  function isOpen(id, index) {
    const { open, shut } = App.state.get();
    return index < OPEN_AT_FIRST ? !shut.includes(id) : open.includes(id);
  }

  function toggled(id, index, open) {
    if (open === isOpen(id, index)) return;
    toggleIn(index < OPEN_AT_FIRST ? "shut" : "open", id);
  }

  function toggleIn(key, id) {
    const list = App.state.get(key);
    App.state.set({ [key]: list.includes(id) ? list.filter((one) => one !== id) : [...list, id] });
  }

  // One row per run and update, one column per name of the panel.
  function tidy(panel) {
    const names = panel.names.filter((name) => page.names[name]);
    const rows = [];
    for (const i of shown()) {
      const run = page.runs[i];
      const data = Charts.rowsOf(run);
      if (!data) continue;
      data.update.forEach((update, k) => {
        const values = names.map((name) => data.columns[name]?.[k] ?? null);
        if (values.some((value) => value !== null)) rows.push([...(single() ? [] : [run.name]), update, ...values]);
      });
    }
    return [[...(single() ? [] : ["run"]), "update", ...names], rows];
  }

  function toggleTable(panel, button, box) {
    const open = !box.firstChild;
    box.replaceChildren(...(open ? [NumberTable.make(panel.title, () => tidy(panel))] : []));
    button.setAttribute("aria-expanded", String(open));
  }

  function onScreen(entries) {
    for (const { target, isIntersecting } of entries) {
      target.figure.visible = isIntersecting;
      if (isIntersecting && target.figure.dirty) paint(target.figure);
    }
  }

  function paint(figure) {
    if (!page.runs.some(Charts.rowsOf)) return;
    figure.dirty = false;
    figure.draw();
  }

  const figures = () => panels.flatMap((panel) => panel.figures);

  function spoil() {
    for (const figure of figures()) {
      figure.dirty = true;
      if (figure.visible) paint(figure);
    }
  }

  // Rows come in batches, so that the page answers meanwhile; drawn after the first and after the last.
  async function load() {
    const mine = ++loading;
    const wanted = page.runs.filter((run) => !Charts.has(run));
    for (let i = 0; i < wanted.length; i += BATCH) {
      await Promise.all(wanted.slice(i, i + BATCH).map((run) => Charts.load(run).catch(() => null)));
      if (mine !== loading) return;
      if (i === 0 && wanted.length > BATCH) spoil();
      await new Promise((resolve) => setTimeout(resolve));
    }
    spoil();
  }

  function update(state, changed) {
    for (const panel of panels) {
      panel.log.setAttribute("aria-pressed", String(state.log.includes(panel.id)));
      if (panel.node.open !== panel.wanted()) panel.node.open = panel.wanted();
    }
    root.querySelector("#x-axis").value = state.x;
    root.querySelector("[data-zoom]").disabled = !state.zoom;
    const box = root.querySelector(".runs-shown");
    if (box && changed.has("theme")) fillChips(box);
    else if (box) press(box);
    if (["off", "x", "log", "theme"].some((key) => changed.has(key))) spoil();
    else if (changed.has("zoom")) figures().forEach((figure) => figure.zoom());
    if (changed.has("u") || changed.has("run")) for (const figure of figures()) if (figure.visible) figure.moveTo();
  }

  // A live page: rows of changed runs are read again; panels stay unless names are new.
  function refresh(next, runs) {
    const shape = (one) => JSON.stringify([one.panels, one.runs.map((run) => run.id)]);
    const same = shape(next) === shape(page);
    Charts.outdate(runs);
    if (!same) {
      for (const figure of figures()) figure.destroy();
      mount(root, next);
      update(App.state.get(), new Set(["off"]));
      return;
    }
    page = next;
    load();
  }

  App.register("curves", { mount, update, refresh });
  return { tidy };
})();
