// The overview: verdicts, three numbers each with its reference, states to jump to.
"use strict";

(() => {
  const { el } = App;
  const MOST_CARDS = 9;

  function mount(div, page) {
    const several = page.runs.length > 1;
    const cards = page.runs.slice(0, MOST_CARDS).map((run) => card(run, several));
    const rest = page.runs.slice(MOST_CARDS);
    const box = el("div", { class: "cards" }, cards);
    const more = rest.length
      ? el("button", { type: "button", class: "button", on: { click: () => { box.append(...rest.map((run) => card(run, several))); more.remove(); } } }, `Show the other ${rest.length} runs`)
      : null;
    App.clear(div, box, more, notices(page));
  }

  function notices(page) {
    return page.notices.length ? el("ul", { class: "notices" }, page.notices.map((notice) => el("li", {}, notice))) : null;
  }

  function card(run, several) {
    const page = App.source.page();
    const index = page.runs.findIndex((one) => one.id === run.id);
    return el(
      "article", { class: `card${several ? "" : " wide"}`, "aria-label": run.label || run.name },
      several ? el("h3", {}, Figure.swatch(App.colour(index), App.dash(index), 4), " ", run.label) : null,
      several || run.verdict !== page.headline ? el("p", { class: "verdict" }, run.verdict) : null,
      el("dl", { class: "three" }, run.numbers.map((one) => el("div", {}, el("dt", {}, one.label), el("dd", {}, one.value), el("dd", { class: "muted" }, one.reference)))),
      jumps(run),
    );
  }

  function jumps(run) {
    const last = run.samples.updates[run.samples.updates.length - 1];
    const chips = run.states.map((state) => jump(run, state.update, `${state.name}, update ${state.update}`, state.title));
    if (run.samples.updates.length) {
      chips.unshift(jump(run, run.samples.updates[0], "first sample", ""));
      chips.push(jump(run, last, "last sample", ""));
    }
    return chips.length ? el("div", { class: "row chips" }, chips) : null;
  }

  function jump(run, u, text, title) {
    return el("button", { type: "button", class: "chip", title: title || null, on: { click: () => App.go("samples", { run: run.id, u }) } }, text);
  }

  App.register("overview", { mount, update: () => {} });
})();
