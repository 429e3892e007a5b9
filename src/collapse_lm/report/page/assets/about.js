// About a run: what differs from its preset, the facts, how to repeat it; what the page leaves out.
"use strict";

(() => {
  const { el } = App;
  let [page, root, shown] = [null, null, null];

  function mount(div, thePage) {
    page = thePage;
    root = div;
    shown = null;
    const pick = page.runs.length > 1
      ? el("div", { class: "row toolbar" }, el("label", { for: "about-run" }, "Run "), el("select", { id: "about-run", on: { change: (event) => App.state.set({ run: event.target.value }) } }, page.runs.map((run) => el("option", { value: run.id }, run.label || run.name))))
      : null;
    App.clear(div, pick, el("div", { dataset: { part: "run" } }), leftOut(), foot());
  }

  function leftOut() {
    if (!page.left_out.length) return null;
    return [el("h3", {}, "Left out"), el("ul", { class: "left-out" }, page.left_out.map((one) => el("li", {}, el("strong", {}, one.run), ": ", one.reason)))];
  }

  function foot() {
    const link = el("button", { type: "button", class: "button", on: { click: () => copy(App.state.link(), link) } }, "Copy a link to this state");
    return el("div", { class: "row" }, link);
  }

  // Where the clipboard is closed to the page, the text is selected instead.
  async function copy(text, button) {
    const before = button.textContent;
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = el("textarea", { class: "visually-hidden", prop: { value: text } });
      button.after(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    button.textContent = done ? "Copied" : "Not copied";
    App.say(button.textContent);
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  function of(run) {
    const button = el("button", { type: "button", class: "button", on: { click: () => copy(run.command, button) } }, "Copy");
    return [
      el("h3", {}, "Repeat it"),
      el("div", { class: "command" }, el("pre", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Command", "data-keys": true }, el("code", {}, run.command)), button),
      el("h3", {}, "Configuration, as it differs"),
      run.difference.length ? table(["key", "here", "preset or default"], run.difference) : el("p", { class: "muted" }, "Everything is as in the preset."),
      el("h3", {}, "Facts"), table(null, run.facts),
    ];
  }

  function table(heads, rows) {
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": heads ? "Configuration" : "Facts", "data-keys": true }, el(
      "table", {}, heads ? el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))) : null,
      el("tbody", {}, rows.map(([key, ...values]) => el("tr", {}, el("th", { scope: "row" }, key), values.map((value) => el("td", {}, value))))),
    ));
  }

  function update(state) {
    const run = App.source.run(state.run) || page.runs[0];
    if (!run || shown === run.id) return;
    shown = run.id;
    const select = root.querySelector("#about-run");
    if (select) select.value = run.id;
    root.querySelector("[data-part=run]").replaceChildren(...of(run));
  }

  App.register("about", { mount, update });
})();
