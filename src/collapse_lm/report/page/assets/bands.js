// Numbers behind the figures: lines on a common axis, means with a band over seeds, runs at risk. Pure.
"use strict";

const Bands = (() => {
  const FEWEST_FOR_SE = 5; // with fewer runs the band is their range

  const finite = (value) => value !== null && value !== undefined && Number.isFinite(value);

  // Rows hold null for "absent" and for "not finite". What is absent by schedule (an evaluation every 5
  // updates) becomes undefined, and a line passes over it; a hole longer than usual keeps one null: a gap.
  function gaps(xs, ys) {
    const places = [];
    for (let i = 0; i < ys.length; i++) if (finite(ys[i])) places.push(i);
    const out = new Array(ys.length).fill(undefined);
    if (!places.length) return out;
    const steps = places.slice(1).map((place, i) => xs[place] - xs[places[i]]);
    const usual = steps.length ? median(steps) : Infinity;
    places.forEach((place, i) => {
      out[place] = ys[place];
      if (i && steps[i - 1] > 1.5 * usual && place - places[i - 1] > 1) out[place - 1] = null;
    });
    const last = places[places.length - 1]; // a line that ends before its run does
    if (last + 1 < ys.length && xs[ys.length - 1] - xs[last] > 1.5 * usual) out[last + 1] = null;
    return out;
  }

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  // Every x of any list, once, in order.
  function union(lists) {
    const all = new Set();
    for (const list of lists) for (const x of list) if (finite(x)) all.add(x);
    return Float64Array.from(all).sort();
  }

  // The values of a line at the places of an axis that holds all of its xs; undefined elsewhere.
  function place(axis, xs, ys) {
    const out = new Array(axis.length).fill(undefined);
    let at = 0;
    for (let i = 0; i < xs.length; i++) {
      if (!finite(xs[i])) continue;
      while (at < axis.length && axis[at] < xs[i]) at++;
      if (at < axis.length && axis[at] === xs[i]) out[at] = ys[i];
    }
    return out;
  }

  // `count` equal steps from the least x to the largest.
  function grid(lists, count) {
    let low = Infinity;
    let high = -Infinity;
    for (const list of lists) for (const x of list) if (finite(x)) [low, high] = [Math.min(low, x), Math.max(high, x)];
    return Float64Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
  }

  // Straight lines between neighbours, at the places of any axis; a gap stays one.
  function resample(axis, xs, ys) {
    const known = [];
    for (let i = 0; i < xs.length; i++) if (finite(xs[i]) && ys[i] !== undefined) known.push(i);
    const out = new Array(axis.length).fill(undefined);
    let k = 0;
    for (let i = 0; i < axis.length && known.length; i++) {
      while (k + 1 < known.length && xs[known[k + 1]] < axis[i]) k++;
      const a = known[k];
      const b = known[Math.min(k + 1, known.length - 1)];
      if (axis[i] < xs[a] || axis[i] > xs[b]) continue;
      if (ys[a] === null || ys[b] === null) out[i] = null;
      else out[i] = xs[a] === xs[b] ? ys[a] : ys[a] + ((ys[b] - ys[a]) * (axis[i] - xs[a])) / (xs[b] - xs[a]);
    }
    return out;
  }

  // Mean of lines on one axis, and a band: one standard error each way from five runs on, else the range.
  // It is drawn while all runs are running (to the first of `ends`) and where all have a value.
  function mean(axis, lines, ends) {
    const n = lines.length;
    const kind = n >= FEWEST_FOR_SE ? "standard error" : "range";
    const result = { kind, n, mean: [], low: [], high: [] };
    const until = Math.min(...ends);
    for (let i = 0; i < axis.length; i++) {
      const values = lines.map((line) => line[i]);
      const band = axis[i] <= until && values.every(finite) ? bandOf(values, kind) : [hole(values)];
      result.mean.push(band[0]);
      result.low.push(band.length > 1 ? band[1] : band[0]);
      result.high.push(band.length > 1 ? band[2] : band[0]);
    }
    return result;
  }

  const hole = (values) => (values.includes(null) ? null : undefined);

  function bandOf(values, kind) {
    const middle = values.reduce((sum, value) => sum + value, 0) / values.length;
    if (kind === "range") return [middle, Math.min(...values), Math.max(...values)];
    const squares = values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
    const error = Math.sqrt(squares / (values.length - 1) / values.length);
    return [middle, middle - error, middle + error];
  }

  // The value at update u, or at the nearest earlier update that has one: [value, update], or null.
  function valueAt(updates, column, u) {
    if (!column) return null;
    for (let i = lastAt(updates, u); i >= 0; i--) if (finite(column[i])) return [column[i], updates[i]];
    return null;
  }

  // Position of the last of the sorted updates that is at most u; -1 if there is none.
  function lastAt(updates, u) {
    let low = 0;
    let high = updates.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (updates[middle] <= u) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Wall time since the start at each row: all seconds.* but those that are part of another.
  function elapsed(rows) {
    const parts = Object.keys(rows.columns).filter((name) => /^seconds\./.test(name) && name !== "seconds.log_probs");
    let total = 0;
    return rows.update.map((_, i) => {
      for (const name of parts) total += rows.columns[name][i] || 0;
      return total;
    });
  }

  // Runs of a survival curve that neither collapsed nor ended before `time`. A step of the curve
  // from s to t took n (1 - t/s) runs out of n.
  function atRisk(curve, time) {
    let risk = curve.runs;
    let before = 1;
    const censored = curve.censored || [];
    const moments = curve.time.map((t, i) => [t, curve.survival[i]]).filter(([t]) => t < time);
    let seen = 0;
    for (const [t, survival] of moments) {
      const gone = censored.filter((c) => c < t).length;
      risk -= gone - seen;
      seen = gone;
      if (before > 0 && survival < before) risk -= Math.round(risk * (1 - survival / before));
      before = survival;
    }
    return risk - (censored.filter((c) => c < time).length - seen);
  }

  // Labels without the words that all have at the same place: "learning rate 2e-5, seed 0" and
  // "learning rate 1e-5, seed 0" become "2e-5, seed 0" and "1e-5, seed 0". Of more than two values each keeps its key.
  function shortened(labels) {
    const parts = labels.map((label) => label.split(", "));
    if (labels.length < 2 || parts[0].length > 2 || parts.some((one) => one.length !== parts[0].length)) return labels;
    const cuts = parts[0].map((_, k) => sharedWords(parts.map((one) => one[k])));
    return parts.map((one) => one.map((part, k) => part.slice(cuts[k])).join(", "));
  }

  // How many characters of whole words all texts begin with; 0 where they are all the same.
  function sharedWords(texts) {
    if (texts.every((text) => text === texts[0])) return 0;
    let shared = 0;
    for (let i = 0; i < texts[0].length && texts.every((text) => text[i] === texts[0][i]); i++) if (texts[0][i] === " ") shared = i + 1;
    return shared;
  }

  // Names that share a figure: those of one unit and kind (`keyOf`). Where that is more than four, families of
  // three and more that differ in a last number only (text.distinct_1, _2, _3) get a figure of their own.
  function families(names, keyOf) {
    const by = (list, key) => [...new Set(list.map(key))].map((one) => list.filter((name) => key(name) === one));
    const stem = (name) => name.replace(/_\d+$/, "_N");
    return by(names, keyOf).flatMap((list) => {
      if (list.length <= 4) return [list];
      const large = new Set(by(list, stem).filter((family) => family.length > 2).map((family) => stem(family[0])));
      return by(list, (name) => (large.has(stem(name)) ? stem(name) : ""));
    });
  }

  return { families, shortened, gaps, union, place, grid, resample, mean, valueAt, lastAt, elapsed, atRisk, median, finite };
})();

if (typeof module !== "undefined") module.exports = Bands;
