// The section of a sweep: survival curves, phase diagram, endings, claims, effects.
"use strict";

(() => {
  const { el, svg } = App;
  const HIGH = 250;
  const EDGE = { left: 46, right: 12, top: 10, bottom: 30 };
  let [page, root, plot] = [null, null, null];
  const sized = new ResizeObserver(() => drawSurvival());

  function mount(div, thePage) {
    page = thePage;
    root = div;
    plot = null;
    if (!page.sweep) {
      App.clear(div, el("p", { class: "muted" }, "These runs are no sweep."));
      return;
    }
    App.clear(div, survival(page.sweep), phase(page.sweep.phase), endings(page.sweep.endings), claims(page.sweep), effects(page.sweep));
  }

  // Survival ----------------------------------------------------------------------------------
  function survival({ survival: curves }) {
    if (!curves.length) return null;
    plot = el("div", { class: "survival", role: "img", "aria-label": describe(curves) });
    sized.observe(plot);
    const table = el("div", {});
    const open = el("button", { type: "button", class: "button", "aria-expanded": "false", on: { click: () => flip() } }, "Table");
    function flip() {
      const wanted = !table.firstChild;
      table.replaceChildren(...(wanted ? [NumberTable.make("Survival", () => steps(curves))] : []));
      open.setAttribute("aria-expanded", String(wanted));
    }
    return el(
      "figure", { class: "chart" },
      el("h3", {}, "Share of runs that have not collapsed"),
      el("p", { class: "muted note" }, "Kaplan-Meier curves with pointwise 95 % intervals; a tick is a run that ended without a collapse."),
      el("ul", { class: "legend" }, curves.map((curve, i) => el("li", {}, Figure.swatch(App.groupColour(lookOf(curve, i)), App.groupDash(lookOf(curve, i)), 3), " ", el("strong", {}, curve.label), ` ${inWords(curve)}`, curve.note && !interval(curve) ? ` (${curve.note})` : ""))),
      plot, el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs at risk", "data-keys": true }, riskTable(curves)),
      el("div", { class: "row tools" }, open, el("button", { type: "button", class: "button", on: { click: () => Csv.download("survival", ...steps(curves)) } }, "CSV")),
      table,
    );
  }

  const inWords = (curve) => `${curve.collapses} of ${curve.runs} collapsed, median ${curve.median === null ? "not reached" : `update ${App.number(curve.median)}`}${interval(curve)}`;

  function interval({ median_lower: low, median_upper: high }) {
    if (low === null && high === null) return "";
    return ` (95 %: ${low === null ? "no lower limit" : App.number(low)} to ${high === null ? "no upper limit" : App.number(high)})`;
  }

  const describe = (curves) => `Share of runs without collapse by update. ${curves.map((curve) => `${curve.label}: ${inWords(curve)}`).join(". ")}.`;

  function steps(curves) {
    return [
      ["level", "update", "survival", "lower", "upper", "at_risk"],
      curves.flatMap((curve) => curve.time.map((t, i) => [curve.label, t, curve.survival[i], curve.lower[i], curve.upper[i], Bands.atRisk(curve, t)])),
    ];
  }

  const lastTime = (curves) => Math.max(1, ...curves.flatMap((curve) => [...curve.time, ...curve.censored]));

  function ticksTo(end, most) {
    const raw = end / most;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = Math.max(1, [1, 2, 5, 10].map((part) => part * power).find((part) => part >= raw));
    return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
  }

  function drawSurvival() {
    if (!plot || !plot.clientWidth) return;
    const curves = page.sweep.survival;
    const wide = plot.clientWidth;
    const end = lastTime(curves);
    const x = (t) => EDGE.left + ((wide - EDGE.left - EDGE.right) * t) / end;
    const y = (s) => EDGE.top + (HIGH - EDGE.top - EDGE.bottom) * (1 - s);
    const picture = svg("svg", { width: wide, height: HIGH, viewBox: `0 0 ${wide} ${HIGH}`, "aria-hidden": "true" });
    for (const s of [0, 0.25, 0.5, 0.75, 1]) {
      picture.append(svg("line", { class: "grid", x1: EDGE.left, x2: wide - EDGE.right, y1: y(s), y2: y(s) }), svg("text", { x: EDGE.left - 6, y: y(s) + 4, "text-anchor": "end" }, App.number(s)));
    }
    for (const t of ticksTo(end, wide / 70)) picture.append(svg("text", { x: x(t), y: HIGH - EDGE.bottom + 14, "text-anchor": "middle" }, App.number(t)));
    picture.append(svg("text", { x: (wide + EDGE.left) / 2, y: HIGH - 3, "text-anchor": "middle" }, "update"));
    curves.forEach((curve, i) => picture.append(...drawn(curve, lookOf(curve, i), x, y)));
    plot.replaceChildren(picture);
  }

  // A step curve from (0, 1): [[time, value], ...], held to the last time of the level. A limit of the
  // interval that is undefined at first lies at 1; once it is undefined again (all have collapsed), the band ends.
  function corners(curve, values) {
    const points = [[0, 1]];
    const hold = (t) => points.push([t, points[points.length - 1][1]]);
    let begun = false;
    for (const [i, t] of curve.time.entries()) {
      if (Bands.finite(values[i])) {
        hold(t);
        points.push([t, values[i]]);
        begun = values[i] < 1;
      } else if (begun) {
        hold(t);
        return points;
      }
    }
    hold(Math.max(...curve.time, ...curve.censored, 0));
    return points;
  }

  // The look of a level is that of its group, whichever groups have a curve.
  function lookOf(curve, i) {
    const place = page.groups.findIndex((group) => group.id === curve.group);
    return place < 0 ? i : place;
  }

  // A curve, its interval, and a tick per censored run.
  function drawn(curve, i, x, y) {
    const path = (points) => points.map(([t, s], k) => `${k ? "L" : "M"}${x(t).toFixed(1)} ${y(s).toFixed(1)}`).join("");
    const colour = App.groupColour(i);
    const known = curve.lower.some(Bands.finite);
    const band = svg("path", { d: known ? `${path([...corners(curve, curve.lower), ...corners(curve, curve.upper).reverse()])}Z` : "", "fill-opacity": 0.14 });
    const line = svg("path", { d: path(corners(curve, curve.survival)), fill: "none", "stroke-width": 2.2, "stroke-dasharray": App.groupDash(i).join(" ") });
    const at = (t) => curve.survival[Bands.lastAt(curve.time, t)] ?? 1;
    const ticks = svg("path", { d: curve.censored.map((t) => `M${x(t).toFixed(1)} ${(y(at(t)) - 5).toFixed(1)}v10`).join(""), "stroke-width": 1.6 });
    band.style.fill = line.style.stroke = ticks.style.stroke = colour;
    return [band, line, ticks];
  }

  function riskTable(curves) {
    const times = ticksTo(lastTime(curves), 6);
    return el(
      "table", { class: "numbers" },
      el("caption", {}, "Runs at risk"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "update"), times.map((t) => el("th", { scope: "col", class: "num" }, t)))),
      el("tbody", {}, curves.map((curve) => el("tr", {}, el("th", { scope: "row" }, curve.label), times.map((t) => el("td", { class: "num" }, Bands.atRisk(curve, t)))))),
    );
  }

  // Phase diagram ------------------------------------------------------------------------------
  function phase(diagram) {
    if (!diagram) return null;
    const known = diagram.cells.map((cell) => cell.median).filter(Bands.finite);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const cellAt = (x, y) => diagram.cells.find((cell) => cell.x === x && cell.y === y);
    return el(
      "figure", { class: "chart" },
      el("h3", {}, "Phase diagram"),
      el("p", { class: "muted note" }, `Median update of collapse by ${diagram.x} (across) and ${diagram.y} (down); below it, how many of the runs collapsed, the change of the validation loss at the end (median, nats per token), and the state of those that ended badly without a loop. Darker: earlier. Choose a cell to see its runs alone.`),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Phase diagram", "data-keys": true }, el(
        "table", { class: "phase" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, `${diagram.y.split(".").pop()} \\ ${diagram.x.split(".").pop()}`), diagram.xs.map((label) => el("th", { scope: "col" }, label)))),
        el("tbody", {}, diagram.ys.map((label, y) => el("tr", {}, el("th", { scope: "row" }, label), diagram.xs.map((_, x) => el("td", {}, square(cellAt(x, y), shadeOf(low, high), diagram)))))),
      )),
      el("div", { class: "row" }, scale(low, high), el("button", { type: "button", class: "button", on: { click: () => App.state.set({ off: [] }) } }, "Show all runs")),
    );
  }

  // 0 (latest) to 1 (earliest), on a logarithmic scale.
  const shadeOf = (low, high) => (median) => (high > low ? 1 - Math.log(median / low) / Math.log(high / low) : 1);

  function square(cell, shade, diagram) {
    if (!cell || !cell.n) return el("span", { class: "muted" }, "–");
    const depth = Bands.finite(cell.median) ? shade(cell.median) : null;
    const aside = (text) => el("span", { class: "visually-hidden" }, text); // for who hears the cell
    const node = el(
      "button",
      {
        type: "button", class: depth === null ? "cell never" : "cell", dataset: { runs: cell.runs.join(" ") }, "aria-pressed": "false",
        title: `${diagram.x} ${diagram.xs[cell.x]}, ${diagram.y} ${diagram.ys[cell.y]}`,
        on: { click: () => choose(cell) },
      },
      aside(`${diagram.x} ${diagram.xs[cell.x]}, ${diagram.y} ${diagram.ys[cell.y]}: median update `),
      el("strong", {}, cell.median === null ? "none" : App.number(cell.median, 3)), aside(", collapsed "), el("small", {}, `${cell.collapsed}/${cell.n}`),
      Bands.finite(cell.change) ? [aside(", validation "), el("small", {}, `${cell.change < 0 ? "" : "+"}${App.number(cell.change, 2)}`)] : null,
      lost(cell) ? [aside(", ended in "), el("small", {}, cell.ended_so < cell.n ? `${cell.ending} ${cell.ended_so}/${cell.n}` : cell.ending)] : null,
    );
    if (depth !== null) paint(node, depth);
    return node;
  }

  // A model that ended in another bad state than the loop.
  const lost = (cell) => cell.median === null && !["", "none", "loop"].includes(cell.ending);

  function paint(node, depth) {
    const lightness = 88 - 58 * depth;
    node.style.background = `hsl(203 60% ${lightness}%)`;
    node.style.color = lightness > 42 ? "#000" : "#fff";
  }

  function scale(low, high) {
    if (!Number.isFinite(low)) return null;
    const steps = [0, 0.25, 0.5, 0.75, 1].map((depth) => {
      const box = el("span", { class: "step" });
      paint(box, depth);
      return box;
    });
    return el("span", { class: "scale" }, el("span", { class: "muted" }, `update ${App.number(high)} `), steps, el("span", { class: "muted" }, ` update ${App.number(low)}`));
  }

  function choose(cell) {
    const others = page.runs.map((run) => run.id).filter((id) => !cell.runs.includes(id));
    App.state.set({ off: others, run: cell.runs[0] });
    App.say(`${cell.runs.length} runs are shown, ${others.length} are switched off`);
  }

  // Endings -------------------------------------------------------------------------------------
  function endings({ states, meanings, rows }) {
    return el(
      "figure", { class: "chart" },
      el("h3", {}, "Endings"),
      el("p", { class: "muted note" }, "States that runs got into. k/n: u says that k of n runs did, and that the median of their first updates in it is u; a cell is filled as far. A run can be in several, and one that stops when it loops shows no later ones."),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Endings", "data-keys": true }, el(
        "table", { class: "numbers endings" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "runs"), states.map((state, i) => el("th", { scope: "col", title: meanings[i] }, state)))),
        el("tbody", {}, rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row.label), row.cells.map(stay)))),
      )),
    );
  }

  function stay({ entered, runs, first, left }) {
    const node = el("td", {}, entered ? `${entered}/${runs}: ${App.number(first)}${left ? `, ${left} left` : ""}` : "–");
    node.style.setProperty("--share", `${runs ? (100 * entered) / runs : 0}%`);
    return node;
  }

  // Claims and effects ----------------------------------------------------------------------
  const SIGNS = { supported: ["✓", "good"], "not supported": ["✗", "bad"], undecided: ["?", "warn"], "not tested": ["–", "muted"] };

  function claims({ claims: list, unjudged }) {
    if (!list?.length && !unjudged) return null;
    return el(
      "div", {}, el("h3", {}, "Claims"),
      el("ul", { class: "claims" }, (list || []).map((claim) => {
        const [sign, look] = SIGNS[claim.verdict] || ["•", "muted"];
        return el("li", {}, el("span", { class: `claim-verdict ${look}` }, el("span", { "aria-hidden": "true" }, sign), " ", claim.verdict), el("div", {}, el("strong", {}, claim.name), el("p", {}, claim.text), el("p", { class: "muted" }, claim.detail)));
      })),
      unjudged ? el("p", { class: "muted" }, unjudged) : null,
    );
  }

  function effects({ effects: list }) {
    if (!list?.length) return null;
    return el("div", {}, el("h3", {}, "Effects"), el("dl", { class: "effects" }, list.flatMap((effect) => [el("dt", {}, effect.label), el("dd", {}, effect.text)])));
  }

  function update(state, changed) {
    if (changed.has("theme") && page.sweep) mount(root, page);
    if (!plot?.firstChild) drawSurvival();
    if (!changed.has("off")) return;
    const off = new Set(state.off);
    const on = page.runs.filter((run) => !off.has(run.id)).map((run) => run.id).join(" ");
    for (const node of root.querySelectorAll("button[data-runs]")) {
      const chosen = node.dataset.runs.split(" ").sort().join(" ") === on.split(" ").sort().join(" ");
      node.setAttribute("aria-pressed", String(chosen));
    }
  }

  App.register("sweep", { mount, update });
})();
