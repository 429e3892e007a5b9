// The table of runs: sorted by any column, filtered by words, with small curves; and what was left out.
"use strict";

const RunsTable = (() => {
  // Pure: rows in the order that "id,1" or "id,-1" asks for; what has no value comes last either way.
  function sorted(rows, column, direction) {
    const value = (row) => row.values[column];
    const empty = (x) => x === null || x === undefined || x === "" || Number.isNaN(x);
    const compare = (a, b) => {
      if (empty(a) || empty(b)) return Number(empty(a)) - Number(empty(b));
      if (typeof a === "number" && typeof b === "number") return direction * (a - b);
      return direction * String(a).localeCompare(String(b), "en", { numeric: true });
    };
    return rows.map((row, i) => [row, i]).sort(([a, i], [b, j]) => compare(value(a), value(b)) || i - j).map(([row]) => row);
  }

  // Pure: rows whose text holds every word of the filter.
  function filtered(rows, filter) {
    const words = (filter || "").toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter((row) => words.every((word) => row.text.includes(word)));
  }

  // "2e-05" sorts as a number, "cosine" as a word.
  function typed(text) {
    if (text === null || text === undefined) return null;
    return String(text).trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : String(text);
  }

  // Pure: the columns of these runs; `value` of a run is what is sorted by, and stands in the CSV under `id`.
  function columnsOf({ runs, names }) {
    const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
    const sparks = [...new Set(runs.flatMap((run) => Object.keys(run.spark)))];
    const several = (f) => new Set(runs.map(f)).size > 1;
    return [
      { id: "run", title: "run", value: (run) => run.label || run.name },
      ...keys.map((key) => ({ id: key, title: key.split(".").pop(), hint: key, value: (run) => typed(run.settings[key]), shown: (run) => run.settings[key] })),
      ...(several((run) => run.model) ? [{ id: "model", title: "model", value: (run) => run.model }] : []),
      { id: "status", title: "status", value: (run) => run.status },
      { id: "updates", title: "updates", value: (run) => run.updates },
      { id: "collapse", title: "collapse update", value: (run) => run.end?.collapse_update ?? null },
      ...sparks.map((name) => ({ id: name, title: names[name]?.title || name, hint: names[name]?.meaning, spark: true, value: (run) => lastOf(run.spark[name]) })),
      { id: "minutes", title: "minutes", value: (run) => (Bands.finite(run.seconds) ? run.seconds / 60 : null) },
    ];
  }

  const lastOf = (points) => (points || []).filter(Bands.finite).pop() ?? null;

  return { sorted, filtered, typed, columnsOf, lastOf };
})();

if (typeof App !== "undefined") {
  (() => {
    const { el, svg } = App;
    const { columnsOf, lastOf } = RunsTable;
    let [page, root, rows, columns] = [null, null, [], []];

    function mount(div, thePage) {
      page = thePage;
      root = div;
      columns = columnsOf(page);
      rows = page.runs.map((run, i) => rowOf(run, i));
      const filter = el("input", {
        type: "search", id: "run-filter", placeholder: "words, e.g. 2e-5 failed", autocomplete: "off",
        on: { input: (event) => App.state.set({ filter: event.target.value || null }) },
      });
      const csv = el("button", { type: "button", class: "button", on: { click: download } }, "CSV");
      App.clear(
        div,
        el("div", { class: "row toolbar" }, el("label", { for: "run-filter" }, "Filter "), filter, el("span", { class: "muted", "data-count": true, role: "status" }), csv),
        el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Table of runs", "data-keys": true }, el("table", { class: "runs" }, head(), el("tbody", {}))),
        leftOut(page),
      );
    }

    function rowOf(run, index) {
      const values = Object.fromEntries(columns.map((column) => [column.id, column.value(run)]));
      const text = [run.name, run.verdict, ...Object.values(run.settings), ...Object.values(values)].join(" ").toLowerCase();
      return { run, index, values, text };
    }

    function head() {
      return el("thead", {}, el("tr", {}, columns.map((column) => el(
        "th", { scope: "col", class: numeric(column) ? "num" : null, dataset: { column: column.id }, "aria-sort": "none" },
        el("button", { type: "button", title: column.hint || null, on: { click: () => sortBy(column.id) } }, column.title, el("span", { class: "arrow", "aria-hidden": "true" })),
      ))));
    }

    const numeric = (column) => rows.some((row) => typeof row.values[column.id] === "number");

    function asked() {
      const text = App.state.get("sort") || "";
      const comma = text.lastIndexOf(",");
      const id = text.slice(0, comma);
      return columns.some((column) => column.id === id) ? [id, text.endsWith("-1") ? -1 : 1] : [null, 1];
    }

    function sortBy(id) {
      const [now, direction] = asked();
      App.state.set({ sort: now === id ? (direction === 1 ? `${id},-1` : null) : `${id},1` });
    }

    function shown() {
      const [id, direction] = asked();
      const some = RunsTable.filtered(rows, App.state.get("filter"));
      return id ? RunsTable.sorted(some, id, direction) : some;
    }

    function update(state, changed) {
      const input = root.querySelector("#run-filter");
      if (input.value !== (state.filter || "")) input.value = state.filter || "";
      if (["sort", "filter", "theme"].some((key) => changed.has(key))) fill();
      for (const line of root.querySelectorAll("tr[data-run]")) {
        line.classList.toggle("chosen", line.dataset.run === state.run);
        line.classList.toggle("is-off", state.off.includes(line.dataset.run));
      }
    }

    function fill() {
      const [id, direction] = asked();
      for (const th of root.querySelectorAll("th[data-column]")) {
        const own = th.dataset.column === id;
        th.setAttribute("aria-sort", own ? (direction === 1 ? "ascending" : "descending") : "none");
        th.querySelector(".arrow").textContent = own ? (direction === 1 ? " ▲" : " ▼") : "";
      }
      const lines = shown();
      root.querySelector("tbody").replaceChildren(...lines.map(line));
      root.querySelector("[data-count]").textContent = `${lines.length} of ${rows.length} runs`;
    }

    function line({ run, index, values }) {
      const [first, ...others] = columns;
      return el(
        "tr", { dataset: { run: run.id }, title: run.verdict },
        el("th", { scope: "row" },
          Figure.swatch(App.colour(index), App.dash(index), 3),
          el("button", { type: "button", class: "link", on: { click: () => App.go("samples", { run: run.id }) } }, values[first.id])),
        others.map((column) => (column.spark ? sparkCell(run, column, index) : cell(column, values[column.id], column.shown?.(run)))),
      );
    }

    function cell(column, value, text) {
      if (column.id === "status") return el("td", {}, el("span", { class: `status is-${/^[a-z]+$/.test(value) ? value : "other"}` }, value));
      if (typeof value === "number") return el("td", { class: "num" }, text ?? (column.id === "minutes" ? value.toFixed(1) : App.number(value, 6)));
      return el("td", { class: numeric(column) ? "num" : null }, value ?? "–");
    }

    function sparkCell(run, column, index) {
      const points = run.spark[column.id] || [];
      return el("td", { class: "num spark" }, spark(points, App.colour(index), column.title), el("span", {}, App.number(lastOf(points), 3)));
    }

    function spark(points, colour, title) {
      const known = points.filter(Bands.finite);
      const picture = svg("svg", { width: 60, height: 20, viewBox: "0 0 60 20", role: "img", "aria-label": `${title}, from ${App.number(known[0])} to ${App.number(lastOf(known))}` });
      if (!known.length) return picture;
      const [low, high] = [Math.min(...known), Math.max(...known)];
      const x = (i) => 2 + (56 * i) / Math.max(1, points.length - 1);
      const y = (value) => 17 - (14 * (value - low)) / (high - low || 1);
      let path = "";
      points.forEach((value, i) => {
        if (Bands.finite(value)) path += `${path ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      });
      const drawn = svg("path", { d: path, fill: "none", "stroke-width": 1.5, "stroke-linejoin": "round", "stroke-linecap": "round" });
      drawn.style.stroke = colour;
      picture.append(drawn);
      return picture;
    }

    function download() {
      const lines = shown();
      Csv.download(`${page.title} runs`, ["name", ...columns.map((column) => column.id), "verdict"], lines.map(({ run, values }) => [run.name, ...columns.map((column) => values[column.id]), run.verdict]));
    }

    function leftOut({ left_out: list }) {
      if (!list.length) return null;
      return el("div", {}, el("h3", {}, "Left out"), el("ul", { class: "left-out" }, list.map((one) => el("li", {}, el("strong", {}, one.run), ": ", one.reason))));
    }

    function refresh(next) {
      const before = columns.map((column) => column.id).join();
      if (columnsOf(next).map((column) => column.id).join() !== before || next.left_out.length !== page.left_out.length) mount(root, next);
      page = next;
      columns = columnsOf(page);
      rows = page.runs.map((run, i) => rowOf(run, i));
      fill();
      update(App.state.get(), new Set());
    }

    App.register("runs", { mount, update, refresh });
  })();
}

if (typeof module !== "undefined") module.exports = RunsTable;
