// NumberTable: an accessible table of many rows, 500 of them at a time, with its CSV.
"use strict";

const NumberTable = (() => {
  const { el } = App;
  const WINDOW = 500;

  // rowsOf(): [header, rows]; header: names, rows: arrays of numbers, texts or null.
  function make(title, rowsOf) {
    const [header, rows] = rowsOf();
    const body = el("tbody", {});
    const where = el("span", { class: "muted", "aria-live": "polite" });
    const back = el("button", { type: "button", class: "button", on: { click: () => show(first - WINDOW) } }, "Earlier rows");
    const on = el("button", { type: "button", class: "button", on: { click: () => show(first + WINDOW) } }, "Later rows");
    let first = 0;

    function show(from) {
      first = Math.max(0, Math.min(from, Math.floor((rows.length - 1) / WINDOW) * WINDOW));
      const part = rows.slice(first, first + WINDOW);
      body.replaceChildren(...part.map((row) => el("tr", {}, row.map(cell))));
      where.textContent = rows.length > WINDOW ? `rows ${first + 1} to ${first + part.length} of ${rows.length}` : `${rows.length} rows`;
      back.disabled = first === 0;
      on.disabled = first + WINDOW >= rows.length;
    }

    const table = el(
      "table", { class: "numbers" },
      el("caption", { class: "visually-hidden" }, title),
      el("thead", {}, el("tr", {}, header.map((name, i) => el("th", { scope: "col", class: isNumber(rows, i) ? "num" : null }, name)))),
      body,
    );
    show(0);
    return el(
      "div", { class: "number-table" },
      el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `Numbers: ${title}`, "data-keys": true }, table),
      el("div", { class: "row" }, where, rows.length > WINDOW ? [back, on] : null),
    );
  }

  const isNumber = (rows, i) => rows.length > 0 && rows.slice(0, 20).every((row) => row[i] === null || row[i] === undefined || typeof row[i] === "number");

  function cell(value) {
    if (value === null || value === undefined) return el("td", { class: "num" });
    if (typeof value === "number") return el("td", { class: "num" }, Number.isInteger(value) ? String(value) : App.number(value, 6));
    return el("td", {}, value);
  }

  return { make };
})();
