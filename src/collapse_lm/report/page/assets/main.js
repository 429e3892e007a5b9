// The start of the page: the bar, the sections as they come near the screen, keys, theme, and live changes.
"use strict";

(() => {
  const { el } = App;
  const SECTIONS = [["overview", "Overview"], ["curves", "Curves"], ["samples", "Samples"], ["runs", "Runs"], ["sweep", "Sweep"], ["compare", "Compare"], ["about", "About"]];
  const EVERYTHING = new Set([...Object.keys(StateCodec.KINDS), "theme"]);
  const live = new Map(); // name -> {section, node, div, mounted, near, pending: Set of keys}
  let bar = null;
  let playing = 0;
  let spied = false; // the view that is being set is where the reader already is

  const wanted = (page, name) => ({ runs: page.runs.length > 1 || page.left_out.length > 0, sweep: Boolean(page.sweep), compare: page.runs.length > 1 })[name] ?? true;
  const lastUpdate = (page) => Math.max(1, ...page.runs.map((run) => run.updates || 0));

  // Where a reader wants to begin: the run of the address, at its collapse, else at its end.
  function defaultsOf(page) {
    const asked = StateCodec.parse(location.hash).run;
    const run = page.runs.find((one) => one.id === asked) || page.runs[0];
    return { run: page.runs[0]?.id ?? null, u: run ? run.end?.collapse_update ?? run.updates ?? 0 : 0, x: "update" };
  }

  // The address and the sections ---------------------------------------------------------------
  App.go = (view, changes = {}) => {
    App.state.set({ ...changes, view });
    scrollTo(view);
  };

  function scrollTo(view) {
    const entry = live.get(view);
    if (!entry) return;
    bring(entry);
    hold(view === "overview" ? document.querySelector("header") || entry.node : entry.node); // the verdict is in the head
  }

  // What the reader went to stays at the top while sections above it are drawn, until the reader moves.
  let letGo = () => {};
  function hold(node) {
    letGo();
    const growing = new ResizeObserver(() => node.scrollIntoView({ block: "start" }));
    const timer = setTimeout(() => letGo(), 5000);
    const moves = ["wheel", "touchmove", "keydown", "pointerdown"];
    letGo = () => {
      growing.disconnect();
      clearTimeout(timer);
      moves.forEach((kind) => removeEventListener(kind, letGo));
      letGo = () => {};
    };
    moves.forEach((kind) => addEventListener(kind, letGo, { passive: true }));
    growing.observe(document.querySelector("main")); // calls at once, too
  }

  function sectionOf(name, title) {
    const main = document.querySelector("main") || document.body.appendChild(el("main", { id: "main" }));
    let node = document.getElementById(name);
    if (!node) {
      const later = SECTIONS.slice(SECTIONS.findIndex(([one]) => one === name) + 1).map(([one]) => document.getElementById(one));
      node = el("section", { id: name, "aria-labelledby": `h-${name}` }, el("h2", { id: `h-${name}` }, title));
      main.insertBefore(node, later.find(Boolean) || null);
    }
    const div = node.querySelector("[data-app]") || node.appendChild(el("div", { dataset: { app: name } }));
    return { node, div };
  }

  function lay(page) {
    const near = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
      const entry = live.get(target.id);
      entry.near = isIntersecting;
      if (isIntersecting) bring(entry);
    }), { rootMargin: "400px 0px" });
    for (const [name, title] of SECTIONS) {
      const section = App.sections.get(name);
      if (!section) continue;
      const { node, div } = sectionOf(name, title);
      node.hidden = !wanted(page, name);
      live.set(name, { name, section, node, div, mounted: false, near: false, pending: new Set(EVERYTHING) });
      near.observe(node);
    }
  }

  // A section is made when it comes near the screen, and told then what changed meanwhile.
  function bring(entry) {
    if (entry.node.hidden) return;
    try {
      if (!entry.mounted) {
        entry.node.querySelectorAll("[data-static]").forEach((part) => { part.hidden = true; });
        entry.section.mount(entry.div, App.source.page());
        entry.mounted = true;
        entry.pending = new Set(EVERYTHING);
      }
      if (!entry.pending.size) return;
      const changed = entry.pending;
      entry.pending = new Set();
      entry.section.update(App.state.get(), changed);
    } catch (error) {
      broken(entry, error);
    }
  }

  // A section that fails leaves the rest of the page, and its static part.
  function broken(entry, error) {
    entry.node.querySelectorAll("[data-static]").forEach((part) => { part.hidden = false; });
    entry.div.replaceChildren(el("p", { class: "warn", role: "alert" }, `This part could not be shown: ${error.message}`));
    entry.mounted = true;
    entry.section = { update: () => {} };
    console.error(error);
  }

  function spread(changed) {
    for (const entry of live.values()) {
      changed.forEach((key) => entry.pending.add(key));
      if (entry.near && entry.mounted) bring(entry);
    }
  }

  // The bar ------------------------------------------------------------------------------------
  function makeBar(page) {
    const links = SECTIONS.filter(([name]) => live.has(name)).map(([name, title]) =>
      el("a", { href: `#${name}`, dataset: { view: name }, hidden: !wanted(page, name), on: { click: (event) => { event.preventDefault(); App.go(name); } } }, title));
    const slider = el("input", { type: "range", id: "bar-update", min: 0, step: 1, "aria-label": "Update", on: { input: (event) => App.state.set({ u: Number(event.target.value) }) } });
    const play = el("button", { type: "button", class: "button", id: "bar-play", "aria-label": "Play the updates", on: { click: () => (playing ? stop() : start()) } }, "▶");
    const theme = el("button", { type: "button", class: "button", id: "theme", "aria-label": "Dark or light", on: { click: flipTheme } }, "◐");
    bar = el(
      "div", { class: "bar", role: "region", "aria-label": "Sections and update" },
      el("span", { class: "bar-title", title: page.title }, page.title), el("nav", { "aria-label": "Sections" }, links),
      el("div", { class: "bar-update" }, play, slider, el("output", { for: "bar-update" })),
      el("span", { class: "link-state", hidden: !page.live }, "live"), theme,
    );
    document.querySelector("[data-app=bar]")?.remove();
    const skip = document.querySelector(".skip") || el("a", { class: "skip", href: "#main" }, "Skip to the content");
    document.body.prepend(skip, bar);
    skip.addEventListener("click", (event) => {
      event.preventDefault(); // the address holds the state
      const main = document.querySelector("main");
      main.tabIndex = -1;
      main.focus();
    });
    if (!document.getElementById("live-region")) document.body.append(el("div", { id: "live-region", class: "visually-hidden", "aria-live": "polite" }));
  }

  function writeBar(state) {
    const page = App.source.page();
    const slider = bar.querySelector("#bar-update");
    slider.max = lastUpdate(page);
    slider.value = state.u;
    slider.setAttribute("aria-valuetext", `update ${state.u}`);
    bar.querySelector("output").textContent = `update ${state.u}`;
    for (const link of bar.querySelectorAll("nav a")) {
      if (link.dataset.view === state.view) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  function start() {
    const last = lastUpdate(App.source.page());
    const step = Math.max(1, Math.round(last / 120));
    if (App.state.get("u") >= last) App.state.set({ u: 0 });
    playing = setInterval(() => {
      const u = Math.min(last, App.state.get("u") + step);
      App.state.set({ u });
      if (u >= last) stop();
    }, 250);
    bar.querySelector("#bar-play").textContent = "❚❚";
    bar.querySelector("#bar-play").setAttribute("aria-label", "Stop");
  }

  function stop() {
    clearInterval(playing);
    playing = 0;
    bar.querySelector("#bar-play").textContent = "▶";
    bar.querySelector("#bar-play").setAttribute("aria-label", "Play the updates");
  }

  // Theme: the system's until the reader chooses; kept for the visit where the browser allows it.
  function flipTheme() {
    const dark = !App.isDark();
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    remember(dark ? "dark" : "light");
    spread(new Set(["theme"]));
  }

  function remember(theme) {
    try {
      localStorage.setItem("collapse-lm-theme", theme);
    } catch {
      // storage is closed to the page: the choice lasts until it is left
    }
  }

  function recall() {
    try {
      const theme = localStorage.getItem("collapse-lm-theme");
      if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
    } catch {
      // as above
    }
  }

  // Keys: arrows, Home and End move the update where nothing else wants them.
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, select, textarea, [contenteditable], [data-keys], [role=slider], [role=tablist]")) return;
    const state = App.state.get();
    const last = lastUpdate(App.source.page());
    const step = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: state.u - step, ArrowRight: state.u + step, Home: 0, End: last, "[": beside(state, -1), "]": beside(state, 1) }[event.key];
    if (to === undefined || to === null) return;
    event.preventDefault();
    App.state.set({ u: Math.max(0, Math.min(last, to)) });
  }

  function beside({ u, run }, direction) {
    const updates = (App.source.run(run)?.states || []).map((state) => state.update).filter((update) => direction * (update - u) > 0);
    return updates.length ? (direction > 0 ? Math.min(...updates) : Math.max(...updates)) : null;
  }

  // Which section is read: the last whose head is above the upper third.
  function spy() {
    let now = null;
    for (const [name, entry] of live) if (!entry.node.hidden && entry.node.getBoundingClientRect().top < innerHeight / 3) now = name;
    if (!now || now === (App.state.get("view") || "overview")) return;
    spied = true;
    App.state.set({ view: now === "overview" ? null : now });
    spied = false;
  }

  function watchScroll() {
    let asked = false;
    addEventListener("scroll", () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; spy(); });
    }, { passive: true });
  }

  // The head of the page is as old as the HTML; the page object may be younger.
  function writeHead(page) {
    const set = (selector, text) => document.querySelectorAll(selector).forEach((node) => { if (node.textContent !== text) node.textContent = text; });
    set("header h1", page.title);
    set("header .headline", page.headline);
    set(".bar-title", page.title);
    document.title = page.title;
  }

  // Live -----------------------------------------------------------------------------------------
  function changed(page, runs) {
    const slider = bar.querySelector("#bar-update");
    const following = Number(slider.max) <= App.state.get("u");
    for (const entry of live.values()) {
      entry.node.hidden = !wanted(page, entry.name);
      if (!entry.mounted) continue;
      if (entry.section.refresh) entry.section.refresh(page, runs);
      else entry.mounted = false;
      if (entry.near) keepingFocus(entry.div, () => bring(entry));
    }
    for (const link of bar.querySelectorAll("nav a")) link.hidden = !wanted(page, link.dataset.view);
    if (following) App.state.set({ u: lastUpdate(page) });
    writeHead(page);
    writeBar(App.state.get());
    spread(new Set(["page"]));
  }

  // What has the focus has it still after its section was made anew.
  function keepingFocus(div, work) {
    const all = () => [...div.querySelectorAll("button, a, input, select, summary, [tabindex]")];
    const place = all().indexOf(document.activeElement);
    work();
    if (place >= 0 && document.activeElement === document.body) all()[place]?.focus({ preventScroll: true });
  }

  function linked(up) {
    const node = bar.querySelector(".link-state");
    node.textContent = up ? "live" : "connecting …";
    node.classList.toggle("is-down", !up);
  }

  // What is not near the screen is made when the browser has nothing else to do, a section at a time.
  const idle = globalThis.requestIdleCallback || ((f) => setTimeout(f, 200));
  function prepare() {
    const entry = [...live.values()].find((one) => !one.mounted && !one.node.hidden);
    if (!entry) return;
    bring(entry);
    idle(prepare);
  }

  function announce() {
    let timer = 0;
    App.state.subscribe((state) => {
      clearTimeout(timer);
      timer = setTimeout(() => App.say(`update ${state.u}`), 400);
    }, ["u"]);
  }

  async function begin() {
    recall();
    const page = await App.source.load();
    App.state.start(defaultsOf(page));
    document.documentElement.classList.add("js");
    lay(page);
    makeBar(page);
    writeHead(page);
    writeBar(App.state.get());
    App.state.subscribe((state, keys) => {
      writeBar(state);
      spread(keys);
      if (keys.has("view") && !spied && state.view) scrollTo(state.view);
    });
    announce();
    addEventListener("keydown", key);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => spread(new Set(["theme"])));
    if (App.state.get("view")) scrollTo(App.state.get("view"));
    watchScroll();
    idle(prepare);
    if (page.live) App.source.listen(changed, linked);
  }

  const failed = (error) => {
    document.body.prepend(el("p", { class: "warn", role: "alert" }, `The page could not be read: ${error.message}`));
    console.error(error);
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", () => begin().catch(failed));
  else begin().catch(failed);
})();
