// Any two groups or runs side by side: values, difference, its interval, and both curves.
"use strict";

const Compare = (() => {
  // Pure: {rows, note} of groups a and b, whichever way round the page has them; null if it has none.
  function between(compare, a, b) {
    const found = compare.find((one) => one.a === a && one.b === b);
    if (found) return { rows: found.rows, note: found.note };
    const turned = compare.find((one) => one.a === b && one.b === a);
    return turned ? { rows: turned.rows.map(turn), note: turned.note } : null;
  }

  const minus = (value) => (value === null || value === undefined ? null : -value);

  function turn(row) {
    const turned = { ...row, a: row.b, b: row.a, difference: minus(row.difference), lower: minus(row.upper), upper: minus(row.lower) };
    return row.note ? { ...turned, note: row.note.replace(/: ([^:;]+) and ([^:;]+), so that/, ": $2 and $1, so that") } : turned;
  }

  // As report/page/measured.py has it: why a validation number of two runs differs for more than their models.
  const OTHER = {
    text: "on other text (sha256)", tokens: "on other tokens", bytes: "on other bytes of text", context: "in other contexts",
    stride: "by other strides", start: "with other start tokens",
  };

  function otherMeasure(name, one, two) {
    const label = /^validation\.[^[]*\[(.*)\]$/s.exec(name)?.[1];
    const [a, b] = [one, two].map((run) => (label !== undefined && Object.hasOwn(run.measured || {}, label) ? run.measured[label] : null));
    if (!a || !b) return "";
    const kind = Object.keys(OTHER).find((key) => a[key] && b[key] && a[key] !== b[key] && !(key === "tokens" && a.bytes && a.bytes === b.bytes));
    return kind ? `measured ${OTHER[kind]}: ${a[kind]} and ${b[kind]}, so that the difference is not of the models alone` : "";
  }

  // Pure: both runs at update u (or the nearest earlier value), for every name that both have.
  function atUpdate(names, rowsA, rowsB, u, other = () => "") {
    return names.flatMap((name) => {
      const a = Bands.valueAt(rowsA.update, rowsA.columns[name], u);
      const b = Bands.valueAt(rowsB.update, rowsB.columns[name], u);
      if (!a || !b) return [];
      const notes = [a, b].map(([, update]) => update).filter((update) => update !== u);
      const nearest = notes.length ? `of update ${a[1]}${a[1] === b[1] ? "" : ` and ${b[1]}`}` : "";
      const note = [other(name), nearest].filter(Boolean).join("; ");
      return [{ name, a: a[0], b: b[0], difference: b[0] - a[0], lower: null, upper: null, n: 1, paired: false, note }];
    });
  }

  // Pure: names without those that repeat another one (twins: {name: other}) in both runs.
  function withoutTwins(names, twins, all) {
    const alike = (a, b) => !a || JSON.stringify(a) === JSON.stringify(b);
    return names.filter((name) => !(Object.hasOwn(twins, name) && all.every(({ columns }) => alike(columns[name], columns[twins[name]]))));
  }

  // Pure: the row of the times to collapse of two runs; training brought none about in a run that began degenerate.
  function collapses(one, two) {
    const [a, b] = [one, two].map(({ end }) => (end && !end.before_training ? end.collapse_update ?? null : null));
    const told = (run) => (run.end?.before_training ? "degenerate before any training" : "has not collapsed");
    const notes = [["the first", one, a], ["the second", two, b]].filter(([, , at]) => at === null).map(([which, run]) => `${which}: ${told(run)}`);
    return { name: "collapse_update", a, b, difference: a === null || b === null ? null : b - a, lower: null, upper: null, n: 1, paired: false, note: notes.join("; ") };
  }

  return { between, turn, atUpdate, otherMeasure, withoutTwins, collapses };
})();

if (typeof App !== "undefined") {
  (() => {
    const { el, svg } = App;
    let [page, root, figures, drawing] = [null, null, [], 0];
    const sized = new ResizeObserver(() => figures.forEach((figure) => figure.resize()));

    function mount(div, thePage) {
      page = thePage;
      root = div;
      figures.forEach((figure) => figure.destroy());
      figures = [];
      App.clear(
        div,
        el("div", { class: "row toolbar" }, pick("a", "Compare"), pick("b", "with"), el("button", { type: "button", class: "button", on: { click: swap } }, "Swap"), el("button", { type: "button", class: "button", on: { click: download } }, "CSV")),
        el("p", { class: "muted note", dataset: { part: "note" } }),
        el("div", { dataset: { part: "table" } }),
        el("div", { class: "figures", dataset: { part: "figures" } }),
      );
      sized.observe(div);
    }

    function pick(key, label) {
      const id = `compare-${key}`;
      const groups = page.groups.length > 1 ? el("optgroup", { label: "Groups" }, page.groups.map((group) => el("option", { value: group.id }, `${group.label} (${group.runs.length} ${group.runs.length === 1 ? "run" : "runs"})`))) : null;
      const runs = el("optgroup", { label: "Runs" }, page.runs.map((run) => el("option", { value: run.id }, run.label || run.name)));
      return [el("label", { for: id }, label, " "), el("select", { id, dataset: { key }, on: { change: (event) => App.state.set({ [key]: event.target.value }) } }, groups, runs)];
    }

    // The two that are compared: {id, label, runs: indices}.
    function sides() {
      const ids = page.groups.length > 1 ? page.groups.map((group) => group.id) : page.runs.map((run) => run.id);
      return ["a", "b"].map((key, i) => sideOf(App.state.get(key)) || sideOf(ids[i]) || sideOf(page.runs[0].id));
    }

    function sideOf(id) {
      const group = page.groups.find((one) => one.id === id);
      const runs = page.runs.map((run, i) => i).filter((i) => (group ? group.runs.includes(page.runs[i].id) : page.runs[i].id === id));
      return runs.length ? { id, group: Boolean(group), label: group ? group.label : page.runs[runs[0]].label, runs } : null;
    }

    function swap() {
      const [a, b] = sides();
      App.state.set({ a: b.id, b: a.id });
    }

    function comparison() {
      const [a, b] = sides();
      if (a.group && b.group) {
        const found = Compare.between(page.compare, a.id, b.id);
        const why = found?.note ? `. ${found.note[0].toUpperCase()}${found.note.slice(1)}.` : ", with its 95 % interval. Paired where the groups share seeds.";
        if (found) return { a, b, rows: found.rows, at: true, note: `Difference: second minus first${why}` };
      }
      const [one, two] = [a, b].map((side) => page.runs[side.runs[0]]);
      const u = App.state.get("u");
      const rows = Charts.has(one) && Charts.has(two) ? rowsAt(one, two, u) : [];
      const more = a.runs.length > 1 || b.runs.length > 1 ? " The page compares no such pair; the first run of each stands here." : "";
      return { a, b, rows, at: false, note: `Both at update ${u}, times to collapse aside; difference: second minus first. One run each gives no interval.${more}` };
    }

    function rowsAt(one, two, u) {
      const [first, second] = [one, two].map(Charts.rowsOf);
      const names = Compare.withoutTwins(page.compared.names, page.compared.twins, [first, second]);
      return [Compare.collapses(one, two), ...Compare.atUpdate(names, first, second, u, (name) => Compare.otherMeasure(name, one, two))];
    }

    const AT = { end: "at the end", collapse: "at the collapse", lowest: "lowest" };

    function table({ a, b, rows, at }) {
      if (!rows.length) return el("p", { class: "muted" }, "No number that both have.");
      const heads = ["measure", ...(at ? ["when"] : []), a.label, b.label, "difference", ...(at ? ["95 % interval", "", "runs"] : []), "note"];
      return el(
        "div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `${a.label} and ${b.label} compared`, "data-keys": true },
        el("table", { class: "numbers compare" }, el("thead", {}, el("tr", {}, heads.map((head) => (head ? el("th", { scope: "col" }, head) : el("td", {}))))), el("tbody", {}, rows.map((row) => lineOf(row, at)))),
      );
    }

    function lineOf(row, at) {
      const meta = page.names[row.name];
      const num = (value, digits = 4) => el("td", { class: "num" }, App.number(value, digits));
      const interval = Bands.finite(row.lower) && Bands.finite(row.upper);
      return el(
        "tr", {},
        el("th", { scope: "row", title: meta?.meaning || null }, meta?.title || row.name, meta?.unit ? el("span", { class: "muted" }, ` ${meta.unit}`) : null),
        at ? el("td", {}, AT[row.at] || row.at) : null, num(row.a), num(row.b), num(row.difference, 3),
        at ? [el("td", { class: "num" }, interval ? `${App.number(row.lower, 3)} to ${App.number(row.upper, 3)}` : "–"), el("td", {}, interval ? bar(row) : null), el("td", {}, `${row.n}${row.paired ? " paired" : ""}`)] : null,
        el("td", { class: "muted" }, row.note),
      );
    }

    // The interval as a line about zero; the axis is its own, as wide as what lies farthest from zero.
    function bar({ difference, lower, upper }) {
      const far = Math.max(Math.abs(lower), Math.abs(upper), Math.abs(difference)) || 1;
      const x = (value) => 60 + (54 * value) / far;
      const sure = lower > 0 || upper < 0;
      return svg(
        "svg", { width: 120, height: 16, viewBox: "0 0 120 16", role: "img", class: sure ? "bar sure" : "bar", "aria-label": sure ? "the interval leaves out zero" : "the interval holds zero" },
        svg("line", { class: "zero", x1: 60, x2: 60, y1: 1, y2: 15 }), svg("line", { class: "range", x1: x(lower), x2: x(upper), y1: 8, y2: 8 }),
        svg("circle", { cx: x(difference), cy: 8, r: 3.5 }),
      );
    }

    function overlay({ a, b }) {
      figures.forEach((figure) => figure.destroy());
      const runs = [...new Set([...a.runs, ...b.runs])];
      const apart = !a.group && !b.group && page.runs[a.runs[0]].group === page.runs[b.runs[0]].group;
      const names = page.panels.slice(0, 2).flatMap((panel) => panel.names).filter((name) => page.names[name] && !/change_se/.test(name) && runs.some((i) => Charts.rowsOf(page.runs[i])?.columns[name])).slice(0, 4);
      figures = names.map((name) => Figure.make(() => ({ page, title: page.names[name].title, unit: page.names[name].unit, names: [name], allNames: [name], runs, byName: false, apart, x: App.state.get("x"), log: false, zoom: App.state.get("zoom") })));
      part("figures").replaceChildren(...figures.map((figure) => figure.node));
      figures.forEach((figure) => figure.draw());
    }

    const part = (name) => root.querySelector(`[data-part=${name}]`);

    function write(now) {
      part("note").textContent = now.note;
      part("table").replaceChildren(table(now));
      for (const side of ["a", "b"]) root.querySelector(`[data-key=${side}]`).value = now[side].id;
    }

    async function update(state, changed) {
      const mine = ++drawing;
      const needed = [...new Set(sides().flatMap((side) => side.runs))].map((i) => page.runs[i]);
      if (!needed.every(Charts.has)) await Promise.all(needed.map((run) => Charts.load(run).catch(() => null)));
      if (mine !== drawing) return;
      const now = comparison();
      if (!now.at || [...changed].some((key) => key !== "u")) write(now);
      if (!figures.length || ["a", "b", "x", "theme"].some((key) => changed.has(key))) overlay(now);
      else if (changed.has("zoom")) figures.forEach((figure) => figure.zoom());
      figures.forEach((figure) => figure.moveTo());
    }

    function download() {
      const { a, b, rows } = comparison();
      Csv.download(`compare ${a.label} ${b.label}`, ["name", "at", "a", "b", "difference", "lower", "upper", "n", "paired", "note"], rows.map((row) => [row.name, row.at ?? `update ${App.state.get("u")}`, row.a, row.b, row.difference, row.lower, row.upper, row.n, row.paired ? 1 : 0, row.note]));
    }

    function refresh(next, runs) {
      const ids = (one) => [...one.groups, ...one.runs].map((part) => part.id).join();
      Charts.outdate(runs);
      if (ids(next) !== ids(page)) mount(root, next);
      page = next;
      update(App.state.get(), new Set(["x"]));
    }

    App.register("compare", { mount, update, refresh });
  })();
}

if (typeof module !== "undefined") module.exports = Compare;
