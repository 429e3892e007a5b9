// Pane: one sample as text, with marks, shades by token and what a token says when it is pointed at.
"use strict";

const Pane = (() => {
  const AT_ONCE = 1500; // pieces that are made before the first paint; the rest follows frame by frame
  const ROLES = { "trained on": "trained on", probe: "probe" };

  // A pane: {node, show(view), text()}. `side` is "left" or "right", `name` its label for screen readers.
  function create(side, name, onText) {
    const parts = {
      heading: App.el("h3", { class: "ex-title" }),
      sub: App.el("p", { class: "ex-sub" }),
      note: App.el("p", { class: "ex-note", role: "note" }),
      tabs: App.el("div", { class: "ex-tabs" }),
      prompt: App.el("p", { class: "ex-prompt" }),
      box: App.el("div", { class: "ex-text", tabindex: 0, role: "group" }),
      legend: App.el("p", { class: "ex-counts" }),
      token: App.el("p", { class: "ex-token" }),
    };
    const copy = App.el("button", { type: "button", class: "ex-small", on: { click: () => copyText(pane) } }, "copy text");
    const head = App.el("div", { class: "ex-head" }, App.el("div", {}, parts.heading, parts.sub), copy);
    const node = App.el("article", { class: `ex-pane ex-${side}`, "aria-label": name });
    const pane = { node, parts, copy, view: null, drawn: 0, token: null, onText, name };
    node.append(head, parts.note, parts.tabs, parts.prompt, parts.box, parts.legend, parts.token);
    listen(pane);
    return { node, show: (view) => show(pane, view), marks: (layers, legend) => draw(pane, layers, legend), controls: (...nodes) => head.before(...nodes) };
  }

  // view: {heading, sub, note, texts, index, layers, legend, raw, shaded}; texts may be empty.
  function show(pane, view) {
    pane.view = view;
    const { parts } = pane;
    const one = view.texts[view.index] || null;
    parts.heading.textContent = view.heading;
    App.clear(parts.sub, view.sub);
    App.clear(parts.note, view.note || "");
    parts.note.hidden = !view.note;
    drawTabs(pane, view);
    parts.prompt.hidden = !one || !one.prompt;
    if (one && one.prompt) App.clear(parts.prompt, App.el("span", { class: "ex-label" }, "prompt "), ...plainPieces(one.prompt, view.raw));
    parts.box.hidden = !one;
    parts.box.setAttribute("aria-label", `${pane.name}, ${view.heading}: text`);
    pane.copy.hidden = !one;
    draw(pane, view.layers, view.legend);
  }

  function plainPieces(text, raw) {
    return [App.el("bdi", {}, raw ? signs(text) : text)];
  }

  function drawTabs(pane, view) {
    const { tabs } = pane.parts;
    tabs.hidden = view.texts.length < 2;
    if (view.texts.length < 2) {
      App.clear(tabs);
      return;
    }
    const label = (one, i) => `${i + 1}${ROLES[one.role] ? ` · ${one.role}` : ""}${one.origin && one.origin !== "own" ? ` · ${Words.plain(one.origin)}` : ""}`;
    const key = JSON.stringify([view.texts.map(label), view.index]);
    if (tabs.dataset.key === key) return;
    tabs.dataset.key = key;
    const focused = tabs.contains(document.activeElement);
    if (view.texts.length > 6) {
      const options = view.texts.map((one, i) => App.el("option", { value: i, prop: { selected: i === view.index } }, label(one, i)));
      const select = App.el("select", { on: { change: (event) => pane.onText(Number(event.target.value)) } }, options);
      App.clear(tabs, App.el("label", {}, App.el("span", { class: "ex-label" }, "text "), select));
    } else {
      const buttons = view.texts.map((one, i) =>
        App.el("button", { type: "button", "aria-pressed": i === view.index, on: { click: () => pane.onText(i) } }, label(one, i)),
      );
      App.clear(tabs, App.el("span", { class: "ex-label" }, "text"), buttons);
    }
    if (focused) tabs.querySelector("select, [aria-pressed=true]")?.focus();
  }

  // The text anew, with these layers (see Words.cut) and these nodes below it.
  function draw(pane, layers, legend) {
    const { box, legend: below, token } = pane.parts;
    const view = pane.view;
    const one = view.texts[view.index] || null;
    pane.drawn += 1;
    const turn = pane.drawn;
    pane.token = null;
    token.hidden = !one || !view.shaded;
    token.textContent = one && view.shaded ? "Point at a token, or walk through the text with the arrow keys." : "";
    App.clear(below, legend || "");
    below.hidden = !legend || !legend.length;
    if (!one) {
      App.clear(box);
      return;
    }
    const pieces = Words.cut(one.text.length, layers);
    const inner = App.el("bdi", { dir: "auto" });
    App.clear(box, one.text ? inner : App.el("span", { class: "ex-label" }, "an empty text"));
    const more = (from) => {
      if (turn !== pane.drawn) return;
      const part = document.createDocumentFragment();
      for (const piece of pieces.slice(from, from + AT_ONCE)) part.append(made(piece, one.text, view.raw));
      inner.append(part);
      if (from + AT_ONCE < pieces.length) requestAnimationFrame(() => more(from + AT_ONCE));
    };
    more(0);
  }

  const TAGS = { "ex-removed": "del", "ex-added": "ins" };

  function made(piece, text, raw) {
    const part = text.slice(piece.start, piece.end);
    let content = raw ? signs(part) : part;
    if (!piece.classes.length && piece.token === null) return raw ? App.el("span", {}, content) : document.createTextNode(part);
    const tag = TAGS[piece.classes.find((name) => TAGS[name])] || "span";
    if (piece.classes.includes("ex-hit")) content = App.el("mark", { class: "ex-hit" }, content);
    return App.el(tag, { class: piece.classes.filter((name) => name !== "ex-hit").join(" ") || null, dataset: piece.token === null ? {} : { t: piece.token } }, content);
  }

  function signs(text) {
    return Words.visible(text).map(([part, isSign]) => (isSign ? App.el("span", { class: "ex-sign" }, part) : part));
  }

  // --- tokens ------------------------------------------------------------------------------------

  function listen(pane) {
    const { box } = pane.parts;
    box.addEventListener("pointermove", (event) => {
      const span = event.target.closest?.("[data-t]");
      if (span) point(pane, Number(span.dataset.t), false);
    });
    box.addEventListener("keydown", (event) => {
      if (!pane.view?.shaded || event.altKey || event.ctrlKey || event.metaKey) return;
      const one = pane.view.texts[pane.view.index];
      const last = (one.ends || []).length - 1;
      const now = pane.token ?? -1;
      const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: last }[event.key];
      if (next === undefined || last < 0) return;
      event.preventDefault();
      event.stopPropagation();
      point(pane, Math.max(0, Math.min(last, next)), true);
    });
  }

  function point(pane, index, aloud) {
    if (pane.token === index) return;
    const { box, token } = pane.parts;
    for (const span of box.querySelectorAll(".ex-on")) span.classList.remove("ex-on");
    const spans = box.querySelectorAll(`[data-t="${index}"]`);
    for (const span of spans) span.classList.add("ex-on");
    if (aloud) spans[0]?.scrollIntoView({ block: "nearest" });
    pane.token = index;
    const told = tell(pane.view.texts[pane.view.index], index);
    App.clear(token, told);
    if (aloud) App.say(token.textContent);
  }

  function tell(one, index) {
    const from = index ? one.ends[index - 1] : 0;
    const text = one.text.slice(from, one.ends[index]);
    const value = (coded) => (coded ? Words.levels(coded.slice(index, index + 1))[0] : NaN);
    const [p, h, b] = [value(one.p), value(one.h), value(one.b)];
    const facts = [`token ${index + 1} of ${one.ends.length}`];
    if (!Number.isNaN(p)) facts.push(`p ${probability(p)}`);
    if (!Number.isNaN(h)) facts.push(`entropy ${App.number(h, 2)} nats`);
    if (!Number.isNaN(b)) facts.push(`p under the base model ${probability(b)}`);
    const than = Words.changed(p, b, (times) => App.number(times, 2));
    if (than) facts.push(than);
    const shown = App.el("bdi", { class: "ex-quoted" }, text ? signs(text) : "(part of a character)");
    return [shown, ` ${facts.join(" · ")}`];
  }

  function probability(nats) {
    return nats >= 9 ? "0.0001 or less" : App.number(Math.exp(-nats), 2);
  }

  function copyText(pane) {
    const one = pane.view.texts[pane.view.index];
    const done = (word) => {
      pane.copy.textContent = word;
      setTimeout(() => (pane.copy.textContent = "copy text"), 1500);
    };
    const written = navigator.clipboard ? navigator.clipboard.writeText(one.text) : Promise.reject(new Error("no clipboard"));
    written.then(() => done("copied"), () => (copyBySelection(one.text) ? done("copied") : done("could not copy")));
  }

  function copyBySelection(text) {
    const area = App.el("textarea", { class: "ex-away", "aria-hidden": "true", tabindex: -1, prop: { value: text } });
    document.body.append(area);
    area.select();
    const worked = document.execCommand("copy");
    area.remove();
    return worked;
  }

  return { create };
})();
