// Charts.figure: one uPlot with its caption and readout. It knows lines and names, not the sections of the page.
"use strict";

const Charts = (() => {
  const MOST_POINTS = 400_000; // of all lines; beyond, lines are drawn at GRID places
  const GRID = 1500;
  const STEPS = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4, 5, 6].map((power) => step * 10 ** power)).sort((a, b) => a - b);
  const AXES = { update: "update", dose: "dose", seconds: "seconds" };

  const store = new Map(); // run id -> {update, columns, dose, seconds}: decoded rows

  const stale = new Set(); // ids of runs whose rows have grown since: shown until the new ones are here

  async function load(run) {
    if (!has(run)) {
      stale.delete(run.id);
      const rows = await App.source.rows(run.id);
      store.set(run.id, { ...rows, dose: run.dose, seconds: Bands.elapsed(rows) });
    }
    return store.get(run.id);
  }

  const has = (run) => store.has(run.id) && !stale.has(run.id);
  const rowsOf = (run) => store.get(run.id);
  const outdate = (ids) => ids.forEach((id) => stale.add(id));
  const xsOf = (rows, x) => (x === "update" ? rows.update : rows[x]) || [];
  const titleOf = (page, name) => page.names[name]?.title || name;

  // The standard error that a row records beside a change, by name; null where there is none.
  const errorName = (name) => (name.includes("change[") ? name.replace("change[", "change_se[") : null);

  // Every line that a figure shows: {run, name, label, xs, ys, raw, colour(), dash}.
  function linesOf(spec) {
    const lines = [];
    for (const index of spec.runs) {
      const run = spec.page.runs[index];
      const rows = rowsOf(run);
      if (!rows) continue;
      for (const name of spec.names) {
        const raw = rows.columns[name];
        if (!raw || !raw.some(Bands.finite)) continue;
        const xs = xsOf(rows, spec.x);
        const place = spec.allNames.indexOf(name);
        lines.push({
          run, index, name, xs, raw, ys: Bands.gaps(xs, raw), rows,
          label: spec.byName ? titleOf(spec.page, name) : run.label,
          colour: spec.byName ? () => App.lineColour(place) : spec.apart ? () => App.lineColour(spec.runs.indexOf(index)) : () => App.colour(index),
          dash: spec.byName ? App.lineDash(place) : spec.apart ? App.lineDash(spec.runs.indexOf(index)) : App.dash(index),
        });
      }
    }
    return lines;
  }

  // Groups of lines with a common axis, over which a mean can be taken.
  function meansOf(spec, axis, placed, lines) {
    if (spec.byName || spec.apart || spec.x === "seconds") return [];
    return spec.page.groups.flatMap((group, g) => {
      const members = lines.map((line, i) => i).filter((i) => lines[i].run.group === group.id);
      if (members.length < 2 || !sameDoses(spec.x, members.map((i) => lines[i]))) return [];
      const ends = members.map((i) => lines[i].xs[lines[i].xs.length - 1]);
      return [{ group, g, index: lines[members[0]].index, ...Bands.mean(axis, members.map((i) => placed[i]), ends) }];
    });
  }

  function sameDoses(x, lines) {
    if (x !== "dose") return true;
    return lines.every((line) => line.xs.slice(0, 50).every((value, i) => lines[0].xs[i] === undefined || value === lines[0].xs[i]));
  }

  // uPlot takes dashes in pixels of the canvas.
  const scaled = (dash) => dash.map((part) => part * devicePixelRatio);
  const clearLine = { stroke: "transparent", width: 0, points: { show: false } };

  function bandSeries(low, high, fill, series, data, bands) {
    series.push({ ...clearLine }, { ...clearLine });
    data.push(high, low);
    bands.push({ series: [series.length - 2, series.length - 1], fill });
  }

  // Data, series and bands as uPlot wants them.
  function plan(spec) {
    const lines = linesOf(spec);
    let axis = Bands.union(lines.map((line) => line.xs));
    const coarse = axis.length * lines.length > MOST_POINTS;
    if (coarse) axis = Bands.grid(lines.map((line) => line.xs), GRID);
    const put = coarse ? Bands.resample : Bands.place;
    const positive = (ys) => (spec.log ? ys.map((y) => (Bands.finite(y) && y <= 0 ? null : y)) : ys);
    const placed = lines.map((line) => put(axis, line.xs, line.ys));
    const means = meansOf(spec, axis, placed, lines);
    const meant = new Set(means.map((mean) => mean.group.id));
    const [series, data, bands] = [[{}], [axis], []];
    lines.forEach((line, i) => {
      const thin = meant.has(line.run.group);
      if (!thin && lines.length <= 3) errorBand(spec, line, axis, put, positive, series, data, bands);
      series.push({
        label: line.label, stroke: () => line.colour() + (thin ? "66" : ""), width: thin ? 1 : 1.8, dash: scaled(line.dash),
        points: { ...(thin || lines.length > 12 ? { show: false } : {}), size: 5, fill: () => css("--panel"), filter: lonely },
      });
      data.push(positive(placed[i]));
    });
    for (const mean of means) {
      const colour = () => App.colour(mean.index);
      bandSeries(positive(mean.low), positive(mean.high), () => `${colour()}26`, series, data, bands);
      series.push({ label: mean.group.label, stroke: colour, width: 2.6, dash: scaled(App.dash(mean.index)), points: { show: false, filter: lonely } });
      data.push(positive(mean.mean));
    }
    return { lines, means, series, data, bands, coarse };
  }

  function errorBand(spec, line, axis, put, positive, series, data, bands) {
    const errors = errorName(line.name) && line.rows.columns[errorName(line.name)];
    if (!errors) return;
    const shifted = (sign) =>
      put(axis, line.xs, line.ys.map((y, i) => (Bands.finite(y) && Bands.finite(errors[i]) ? y + sign * errors[i] : y)));
    bandSeries(positive(shifted(-1)), positive(shifted(1)), () => `${line.colour()}30`, series, data, bands);
  }

  // Points that no line reaches are drawn as points (after uPlot's demo of isolated points).
  function lonely(u, index, show, gaps) {
    if (show || !gaps || !gaps.length) return null;
    const [first, last] = u.series[index].idxs;
    if (first === null || last === null) return null;
    const at = (i) => Math.round(u.valToPos(u.data[0][i], "x", true));
    const places = [];
    if (gaps[0][0] === at(first)) places.push(first);
    gaps.forEach((gap, i) => {
      if (gaps[i + 1] && gap[1] === gaps[i + 1][0]) places.push(u.posToIdx(gap[1], true));
    });
    if (gaps[gaps.length - 1][1] === at(last)) places.push(last);
    return places.length ? places : null;
  }

  // Horizontal lines: human text and base model, once per value. The label stands at the right.
  function referencesOf(spec, lines) {
    const seen = new Map();
    for (const [kind, words] of [["human", "human text"], ["base", "base model"]]) {
      for (const line of lines) {
        const value = line.run.references?.[kind]?.[line.name];
        const key = `${kind} ${Number(value).toPrecision(3)}`;
        if (!Bands.finite(value) || seen.has(key) || (spec.log && value <= 0)) continue;
        const several = spec.byName && spec.names.length > 1;
        seen.set(key, { kind, value, words, colour: several ? line.colour : () => css("--muted") });
      }
    }
    return [...seen.values()].slice(0, 8);
  }

  const cssOf = new Map();
  function css(name) {
    const key = `${App.isDark()}${name}`;
    if (!cssOf.has(key)) cssOf.set(key, getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888");
    return cssOf.get(key);
  }

  function drawReferences(u, references) {
    const { ctx, bbox } = u;
    const inside = references.map((one) => ({ ...one, y: u.valToPos(one.value, "y", true) })).filter(({ y }) => y >= bbox.top && y <= bbox.top + bbox.height);
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.globalAlpha = 0.85;
    for (const { kind, y, colour } of inside) {
      ctx.strokeStyle = colour();
      ctx.setLineDash(scaled(kind === "human" ? [2, 3] : [7, 4]));
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
    for (const kind of ["human", "base"]) nameReference(u, inside.find((one) => one.kind === kind));
  }

  // Human text is named at the left end of its first line, the base model at the right.
  function nameReference({ ctx, bbox }, reference) {
    if (!reference) return;
    const { kind, words, y } = reference;
    const above = y - 14 * devicePixelRatio > bbox.top;
    const [x, inset] = kind === "human" ? [bbox.left, 4] : [bbox.left + bbox.width, -4];
    const at = [words, x + inset * devicePixelRatio, y + (above ? -4 : 11) * devicePixelRatio];
    ctx.save();
    ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = kind === "human" ? "left" : "right";
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.lineJoin = "round";
    ctx.strokeStyle = css("--panel");
    ctx.fillStyle = css("--muted");
    ctx.strokeText(...at);
    ctx.fillText(...at);
    ctx.restore();
  }

  // The onset of collapse: a ring on the line of its run.
  function drawOnsets(u, spec, lines) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.setLineDash([]);
    ctx.lineWidth = 1.6 * devicePixelRatio;
    for (const line of lines) {
      const onset = line.run.end?.collapse_update;
      const at = Bands.finite(onset) ? Bands.lastAt(line.rows.update, onset) : -1;
      const found = at < 0 ? null : Bands.valueAt(line.rows.update, line.raw, onset);
      if (!found || (spec.log && found[0] <= 0)) continue;
      const x = u.valToPos(line.xs[at], "x", true);
      const y = u.valToPos(found[0], "y", true);
      if (x < bbox.left || x > bbox.left + bbox.width || y < bbox.top || y > bbox.top + bbox.height) continue;
      ctx.fillStyle = css("--panel");
      ctx.strokeStyle = line.colour();
      ctx.beginPath();
      ctx.arc(x, y, (lines.length > 8 ? 2.4 : 3.6) * devicePixelRatio, 0, 7);
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }

  // Limits of the y axis: 6 % beyond the data and the reference lines; what is never negative starts at 0 or above.
  function rangeOf(min, max, references) {
    const values = [min, max, ...references.map((one) => one.value)].filter(Bands.finite);
    if (!values.length) return [0, 1];
    const low = Math.min(...values);
    const high = Math.max(...values);
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
  }

  function logRangeOf(min, max, references) {
    const values = [min, max, ...references.map((one) => one.value)].filter((value) => Bands.finite(value) && value > 0);
    if (!values.length) return [0.1, 1];
    return uPlot.rangeLog(Math.min(...values), Math.max(...values), 10, false);
  }

  function axesOf(spec) {
    const common = { stroke: () => css("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: () => css("--grid"), width: 1 };
    return [
      {
        ...common, grid, size: 24, gap: 4, label: AXES[spec.x], labelSize: 15, labelGap: 0, labelFont: "11px system-ui, sans-serif",
        space: 56, ...(spec.x === "update" ? { incrs: STEPS } : {}), values: (u, ticks) => ticks.map((tick) => App.number(tick)),
      },
      { ...common, grid, size: 50, gap: 5, space: 28, values: (u, ticks) => ticks.map((tick) => (tick === null ? "" : App.number(tick, 3))) },
    ];
  }

  return {
    load, has, rowsOf, outdate, xsOf, titleOf, errorName, plan, referencesOf, drawReferences, drawOnsets, rangeOf, logRangeOf,
    axesOf, AXES,
  };
})();
