// Figure: the element of one chart: caption, readout of the values at the cursor, canvas.
//
// A spec: {page, title (empty where the panel says it), panel, unit, names, allNames, runs: indices, byName, apart, x, log, zoom, height, keys}.
// byName: lines differ by name (a page of one run); else by run, with means over the runs of a group.
// apart: runs of one group that differ by colour all the same, without a mean.
"use strict";

const Figure = (() => {
  const { el } = App;
  const MOST_ENTRIES = 8; // lines named one by one in a readout; beyond, groups are
  const MOST_BESIDE_MEANS = 4;

  function make(specOf) {
    const caption = el("figcaption", {});
    const readout = el("div", { class: "readout" });
    const plot = el("div", { class: "plot" });
    const node = el("figure", { class: "chart" }, caption, readout, plot);
    const mark = el("div", { class: "u-line" });
    let [chart, spec, planned, entries, hovering] = [null, null, null, [], null];

    function draw() {
      spec = specOf();
      planned = Charts.plan(spec);
      const references = Charts.referencesOf(spec, planned.lines);
      caption.replaceChildren(spec.title ? el("span", { class: "chart-title" }, spec.title, " ") : "", el("span", { class: "muted" }, spec.unit || ""));
      entries = legend(spec, planned);
      readout.replaceChildren(...entries.map((entry) => entry.node));
      plot.setAttribute("role", "img"); // with its label, once it is known
      plot.setAttribute("aria-label", describe(spec, planned));
      destroy();
      if (!planned.lines.length) {
        plot.replaceChildren(el("p", { class: "muted empty" }, "no numbers"));
        return;
      }
      plot.replaceChildren();
      chart = new uPlot(options(spec, planned, references), planned.data, plot);
      chart.over.append(mark);
      chart.over.addEventListener("mousedown", (event) => { pressedAt = event.clientX; });
      chart.over.addEventListener("click", clicked);
      moveTo();
    }

    function options(now, plan, references) {
      return {
        width: Math.max(200, plot.clientWidth), height: now.height || 190, legend: { show: false }, padding: [8, 10, 0, 0],
        scales: {
          x: { time: false, range: (u, min, max) => specOf().zoom || (min === max ? [min - 1, max + 1] : [min, max]) },
          y: {
            distr: now.log ? 3 : 1,
            range: (u, min, max) => (now.log ? Charts.logRangeOf : Charts.rangeOf)(min, max, references),
          },
        },
        cursor: {
          y: false, points: { show: plan.lines.length <= 12, size: 6 }, drag: { x: true, y: false, setScale: false },
          sync: { key: "curves", scales: ["x", null], setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave", sub: () => true } },
          bind: { dblclick: () => () => App.state.set({ zoom: null }) },
        },
        axes: Charts.axesOf(now), series: plan.series, bands: plan.bands,
        hooks: {
          drawAxes: [(u) => Charts.drawReferences(u, references)],
          draw: [(u) => { Charts.drawOnsets(u, now, plan.lines); placeMark(u); }],
          setCursor: [(u) => hover(u.cursor.idx === null || u.cursor.left < 0 ? null : u.data[0][u.cursor.idx])],
          setSelect: [selected],
        },
      };
    }

    function selected(u) {
      if (u.select.width < 8) return;
      const ends = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      App.state.set({ zoom: ends });
    }

    // A click that ends no drag chooses the update below it.
    let pressedAt = 0;
    function clicked(event) {
      if (Math.abs(event.clientX - pressedAt) > 4) return;
      const x = chart.posToVal(event.clientX - chart.over.getBoundingClientRect().left, "x");
      App.state.set({ u: updateAt(x) });
    }

    // The row of the chosen run whose x is nearest.
    function updateAt(x) {
      const rows = ownRows();
      if (!rows) return Math.round(x);
      const xs = Charts.xsOf(rows, spec.x);
      const at = Math.max(0, Bands.lastAt(xs, x));
      const next = Math.min(at + 1, xs.length - 1);
      return rows.update[Math.abs(xs[next] - x) < Math.abs(xs[at] - x) ? next : at];
    }

    function ownRows() {
      const run = App.source.run(App.state.get("run")) || planned.lines[0]?.run;
      return (run && Charts.rowsOf(run)) || planned.lines[0]?.rows;
    }

    function xOfUpdate(u) {
      if (spec.x === "update") return u;
      const rows = ownRows();
      const at = rows ? Bands.lastAt(rows.update, u) : -1;
      return at < 0 ? null : Charts.xsOf(rows, spec.x)[at];
    }

    function placeMark(u) {
      const x = xOfUpdate(App.state.get("u"));
      const left = x === null || x === undefined ? -1 : u.valToPos(x, "x");
      mark.hidden = !(left >= 0 && left <= u.over.clientWidth);
      mark.style.transform = `translateX(${Math.round(left)}px)`;
    }

    function hover(x) {
      if (x === hovering) return;
      hovering = x;
      write();
    }

    function moveTo() {
      if (!chart) return;
      placeMark(chart);
      write();
    }

    function write() {
      const x = hovering ?? xOfUpdate(App.state.get("u"));
      for (const entry of entries) entry.write(x);
    }

    function resize() {
      const width = Math.max(200, plot.clientWidth);
      if (chart && width !== chart.width) chart.setSize({ width, height: spec.height || 190 });
    }

    function zoom() {
      if (chart) chart.setData(chart.data, true);
    }

    function destroy() {
      if (chart) chart.destroy();
      chart = null;
    }

    return { node, draw, moveTo, resize, zoom, destroy, repaint: () => chart && chart.redraw(false), drawn: () => chart !== null };
  }

  // A line of the figure as it looks, in small.
  function swatch(colour, dash, thick = 2) {
    const line = App.svg("line", { x1: 1, x2: 21, y1: 5, y2: 5, "stroke-width": thick, "stroke-dasharray": dash.join(" ") });
    line.style.stroke = colour;
    return App.svg("svg", { class: "swatch", width: 22, height: 10, "aria-hidden": "true" }, line);
  }

  function legend(spec, planned) {
    const where = entryOf(null, "", (x) => (x === null || x === undefined ? "" : `${Charts.AXES[spec.x]} ${App.number(x)}`));
    where.node.classList.add("where");
    if (spec.byName && spec.allNames.length > 1) return [where, ...spec.allNames.map((name) => nameEntry(spec, planned, name))];
    const byRun = planned.means.length ? MOST_BESIDE_MEANS : MOST_ENTRIES;
    if (planned.lines.length <= byRun) {
      return [where, ...planned.lines.map((line) => entryOf(swatch(line.colour(), line.dash), line.label, (x) => lineText(line, x)))];
    }
    const short = Bands.shortened(spec.page.groups.map((group) => group.label));
    return [where, ...groupsOf(spec, planned, short).map(([i, label, lines]) => entryOf(swatch(App.colour(i), App.dash(i), 3), label, (x) => groupText(lines, x)))];
  }

  function groupsOf(spec, planned, short) {
    return spec.page.groups
      .map((group, g) => [short[g], planned.lines.filter((line) => line.run.group === group.id)])
      .filter(([, lines]) => lines.length)
      .map(([label, lines]) => [lines[0].index, label, lines])
      .slice(0, 12);
  }

  function entryOf(picture, label, textAt) {
    const [value, more] = [el("span", { class: "value" }), el("span", { class: "muted" })];
    const node = el("span", { class: "entry" }, picture, label ? el("span", { class: "entry-label" }, label) : null, value, more);
    return { node, write: (x) => { [value.textContent, more.textContent] = [textAt(x)].flat(); } };
  }

  // On a page of one run a line is switched on and off in its own legend.
  function nameEntry(spec, planned, name) {
    const on = spec.names.includes(name);
    const line = planned.lines.find((one) => one.name === name);
    const place = spec.allNames.indexOf(name);
    const value = el("span", { class: "value" });
    const node = el(
      "button",
      {
        type: "button", class: "entry chip", "aria-pressed": String(on), title: spec.page.names[name]?.meaning || name,
        on: { click: () => toggle(name) },
      },
      swatch(App.lineColour(place), App.lineDash(place)), el("span", { class: "entry-label" }, Charts.titleOf(spec.page, name)), value,
    );
    return { node, write: (x) => { value.textContent = line ? lineText(line, x) : ""; } };
  }

  function toggle(item) {
    const off = App.state.get("off");
    App.state.set({ off: off.includes(item) ? off.filter((one) => one !== item) : [...off, item] });
  }

  function valueOf(line, x) {
    if (x === null || x === undefined || x > line.xs[line.xs.length - 1]) return null;
    return Bands.valueAt(line.xs, line.raw, x)?.[0] ?? null;
  }

  const lineText = (line, x) => App.number(valueOf(line, x));

  function groupText(lines, x) {
    const values = lines.map((line) => valueOf(line, x)).filter(Bands.finite);
    if (!values.length) return ["–", ""];
    if (values.length === 1) return [App.number(values[0], 3), ""];
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return [App.number(mean, 3), `${App.number(Math.min(...values), 3)} to ${App.number(Math.max(...values), 3)}`];
  }

  function describe(spec, planned) {
    const runs = new Set(planned.lines.map((line) => line.run.id)).size;
    const first = planned.lines[0];
    const ends = first && planned.lines.length === 1 ? `, from ${App.number(first.raw.find(Bands.finite))} to ${lineText(first, first.xs[first.xs.length - 1])}` : "";
    return `${spec.title || spec.panel} by ${Charts.AXES[spec.x]}, ${runs} ${runs === 1 ? "run" : "runs"}${ends}. The numbers are in the table of the panel.`;
  }

  return { make, swatch, toggle };
})();
