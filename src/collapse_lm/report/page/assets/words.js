// Words: pure functions of texts. Word diff, loops, repeated n-grams, token levels, search patterns.
// Offsets are UTF-16 code units. Knows nothing of the page.
"use strict";

const Words = (() => {
  const CJK = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}";
  const WORD = `[${CJK}]|(?:(?![${CJK}])[\\p{L}\\p{N}\\p{M}_])+(?:['’-](?:(?![${CJK}])[\\p{L}\\p{N}\\p{M}_])+)*`;
  const WORDS = new RegExp(WORD, "gu");
  const ITEMS = new RegExp(`${WORD}|\\S`, "gu");
  const DIFF_CELLS = 16e6; // a table of this many bytes at most; larger pieces count as replaced
  const LARGEST_PERIOD_SHARE = 0.25; // the loop of docs/run-format.md, text.loop_share
  const SHORTEST_LOOP = 4;

  function spans(text, pattern) {
    return Array.from(text.matchAll(pattern), (found) => ({ text: found[0], start: found.index, end: found.index + found[0].length }));
  }

  // Words without punctuation; scripts that write no spaces count by character.
  function words(text) {
    return spans(text, WORDS);
  }

  // Words and single other characters, without white space: what a diff compares.
  function items(text) {
    return spans(text, ITEMS);
  }

  // Ranges that touch, or are parted by white space of the text only, become one.
  function merge(ranges, text = "") {
    const merged = [];
    for (const [start, end] of ranges) {
      const last = merged.at(-1);
      if (last && (start <= last[1] || !/\S/u.test(text.slice(last[1], start)))) last[1] = Math.max(last[1], end);
      else merged.push([start, end]);
    }
    return merged;
  }

  // --- loops and repetitions ---------------------------------------------------------------------

  // The longest run of a sequence that repeats with one period, as the recorded text.loop_share has it:
  // {period, start, length, share} in places of the sequence, or null.
  function findLoop(sequence) {
    const ids = numbered([sequence])[0];
    const n = ids.length;
    let best = null;
    for (let period = 1; period <= Math.floor(n * LARGEST_PERIOD_SHARE); period++) {
      let run = 0;
      for (let i = period; i <= n; i++) {
        if (i < n && ids[i] === ids[i - period]) run += 1;
        else {
          const length = run + period;
          if (run && length >= Math.max(2 * period, SHORTEST_LOOP) && (!best || length > best.length))
            best = { period, start: i - length, length, share: length / n };
          run = 0;
        }
      }
    }
    return best;
  }

  // {ranges, share, period, times, unit} of a text's loop, by its tokens where `ends` tells them, else by
  // its words; null without one. There is a range for each turn of the loop.
  function loop(text, ends) {
    const parts = ends && ends.length ? tokens(text, ends) : items(text);
    const found = findLoop(parts.map((part) => part.text));
    if (!found) return null;
    const ranges = [];
    for (let at = found.start; at < found.start + found.length; at += found.period) {
      const last = Math.min(at + found.period, found.start + found.length) - 1;
      if (parts[at].start < parts[last].end) ranges.push([parts[at].start, parts[last].end]);
    }
    const unit = ends && ends.length ? "tokens" : "words";
    return { ranges, share: found.share, period: found.period, times: found.length / found.period, unit };
  }

  // {ranges, share, different} of the n-grams of words that stand in a text at least twice.
  function repeats(text, n = 4) {
    const found = words(text);
    const places = new Map();
    for (let i = 0; i + n <= found.length; i++) {
      const gram = found.slice(i, i + n).map((word) => word.text.toLowerCase()).join(" ");
      if (places.has(gram)) places.get(gram).push(i);
      else places.set(gram, [i]);
    }
    const marked = new Uint8Array(found.length);
    let different = 0;
    for (const starts of places.values()) {
      if (starts.length < 2) continue;
      different += 1;
      for (const start of starts) marked.fill(1, start, start + n);
    }
    const ranges = [];
    let total = 0;
    for (let i = 0; i < found.length; i++) {
      if (!marked[i]) continue;
      total += 1;
      if (i && marked[i - 1]) ranges.at(-1)[1] = found[i].end;
      else ranges.push([found[i].start, found[i].end]);
    }
    return { ranges, share: found.length ? total / found.length : 0, different };
  }

  // --- diff --------------------------------------------------------------------------------------

  // Equal strings get equal numbers, over all sequences.
  function numbered(sequences) {
    const known = new Map();
    return sequences.map((sequence) =>
      Int32Array.from(sequence, (item) => {
        if (!known.has(item)) known.set(item, known.size);
        return known.get(item);
      }),
    );
  }

  // {removed, added: ranges in a and in b; left, right, same: numbers of words}. A longest common
  // subsequence of words; of very long texts that differ, one between words that stand once in both.
  function diff(a, b) {
    const [from, to] = [items(a), items(b)];
    const [x, y] = numbered([from.map((item) => item.text), to.map((item) => item.text)]);
    const keptX = new Uint8Array(x.length);
    const keptY = new Uint8Array(y.length);
    match(x, 0, x.length, y, 0, y.length, keptX, keptY);
    const ranges = (found, kept) => found.filter((_, i) => !kept[i]).map((item) => [item.start, item.end]);
    const same = keptX.reduce((sum, one) => sum + one, 0);
    return {
      removed: merge(ranges(from, keptX), a),
      added: merge(ranges(to, keptY), b),
      left: x.length - same,
      right: y.length - same,
      same,
    };
  }

  function match(x, x0, x1, y, y0, y1, keptX, keptY) {
    while (x0 < x1 && y0 < y1 && x[x0] === y[y0]) keptX[x0++] = keptY[y0++] = 1;
    while (x0 < x1 && y0 < y1 && x[x1 - 1] === y[y1 - 1]) keptX[--x1] = keptY[--y1] = 1;
    if (x0 === x1 || y0 === y1) return;
    if ((x1 - x0) * (y1 - y0) <= DIFF_CELLS) {
      longest(x, x0, x1, y, y0, y1, keptX, keptY);
      return;
    }
    const anchors = uniqueAnchors(x, x0, x1, y, y0, y1);
    if (!anchors.length) return;
    let [fromX, fromY] = [x0, y0];
    for (const [i, j] of [...anchors, [x1, y1]]) {
      match(x, fromX, i, y, fromY, j, keptX, keptY);
      if (i < x1) keptX[i] = keptY[j] = 1;
      [fromX, fromY] = [i + 1, j + 1];
    }
  }

  function longest(x, x0, x1, y, y0, y1, keptX, keptY) {
    const [n, m] = [x1 - x0, y1 - y0];
    const step = new Uint8Array(n * m); // 1: the same, 2: leave out x, 3: leave out y
    let after = new Int32Array(m + 1);
    let row = new Int32Array(m + 1);
    for (let i = n - 1; i >= 0; i--) {
      row[m] = 0;
      for (let j = m - 1; j >= 0; j--) {
        if (x[x0 + i] === y[y0 + j]) [row[j], step[i * m + j]] = [after[j + 1] + 1, 1];
        else if (after[j] >= row[j + 1]) [row[j], step[i * m + j]] = [after[j], 2];
        else [row[j], step[i * m + j]] = [row[j + 1], 3];
      }
      [after, row] = [row, after];
    }
    for (let i = 0, j = 0; i < n && j < m; ) {
      const taken = step[i * m + j];
      if (taken === 1) keptX[x0 + i] = keptY[y0 + j] = 1;
      if (taken !== 3) i += 1;
      if (taken !== 2) j += 1;
    }
  }

  // Places of words that stand once in both pieces, in the longest rising order (patience).
  function uniqueAnchors(x, x0, x1, y, y0, y1) {
    const once = (ids, start, end) => {
      const places = new Map();
      for (let i = start; i < end; i++) places.set(ids[i], places.has(ids[i]) ? -1 : i);
      return places;
    };
    const inY = once(y, y0, y1);
    const pairs = [];
    for (const [id, i] of once(x, x0, x1)) if (i >= 0 && (inY.get(id) ?? -1) >= 0) pairs.push([i, inY.get(id)]);
    pairs.sort((a, b) => a[0] - b[0]);
    const tops = [];
    const before = new Array(pairs.length).fill(-1);
    for (let k = 0; k < pairs.length; k++) {
      let [low, high] = [0, tops.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (pairs[tops[middle]][1] < pairs[k][1]) low = middle + 1;
        else high = middle;
      }
      before[k] = low ? tops[low - 1] : -1;
      tops[low] = k;
    }
    const chain = [];
    for (let k = tops.at(-1) ?? -1; k >= 0; k = before[k]) chain.unshift(pairs[k]);
    return chain;
  }

  // --- tokens ------------------------------------------------------------------------------------

  // {text, start, end} of each token; one that ends no character is empty.
  function tokens(text, ends) {
    let start = 0;
    return ends.map((end) => {
      const token = { text: text.slice(start, end), start, end };
      start = end;
      return token;
    });
  }

  // One character per token -> nats (0 to 9), NaN where unknown.
  function levels(coded) {
    return Float64Array.from(coded, (character) => {
      const code = character.charCodeAt(0);
      return code < 35 ? NaN : (code - 35 - (code > 92 ? 1 : 0)) / 10;
    });
  }

  const STEPS = [0.1, 0.5, 1, 2, 3, 4.5, 6]; // nats: -log p, and entropy
  const CHANGES = [-3, -1, -0.3, 0.3, 1, 3]; // nats: log p now minus log p of the base model

  function step(value, edges) {
    return Number.isNaN(value) ? null : edges.filter((edge) => value >= edge).length;
  }

  const UNLIKELIEST = 9; // the last level: so many nats, or more

  // log p now minus log p of the base model, of -log p of both; NaN where it is unknown, as of two that
  // are both at the last level.
  function change(now, base) {
    return now >= UNLIKELIEST && base >= UNLIKELIEST ? NaN : base - now;
  }

  // The same in words; empty where it is unknown. Of one at the last level it is the least that it can be.
  function changed(now, base, number) {
    const by = change(now, base);
    if (Number.isNaN(by)) return "";
    if (Math.abs(by) < 0.05) return "as likely as under the base model";
    const least = Math.max(now, base) >= UNLIKELIEST ? "at least " : "";
    return `${least}${number(Math.exp(Math.abs(by)))} times as ${by > 0 ? "likely" : "unlikely"} as under the base model`;
  }

  // Ranges [start, end, class, token] that cover a text token by token. kind: "p", "h", "d" or "".
  function shades(one, kind) {
    const given = { p: one.p && levels(one.p), h: one.h && levels(one.h), b: one.b && levels(one.b) };
    const ranges = [];
    tokens(one.text, one.ends).forEach((token, i) => {
      if (token.start === token.end) return;
      const value = kind === "d" ? change(given.p ? given.p[i] : NaN, given.b ? given.b[i] : NaN) : kind && given[kind] ? given[kind][i] : NaN;
      const place = step(Math.round(value * 10) / 10, kind === "d" ? CHANGES : STEPS);
      ranges.push([token.start, token.end, place === null ? "" : `ex-${kind}${place}`, i]);
    });
    return ranges;
  }

  // A text cut at all borders of the layers' ranges: [{start, end, classes, token}], in order, without gaps.
  // layers: [[[start, end, class?, token?], ...] or {ranges, name}], ranges of one layer do not overlap.
  function cut(length, layers) {
    const borders = new Set([0, length]);
    for (const { ranges } of layers) for (const [start, end] of ranges) borders.add(Math.min(start, length)).add(Math.min(end, length));
    const sorted = Int32Array.from(borders).sort();
    const at = layers.map(() => 0);
    const pieces = [];
    for (let k = 0; k + 1 < sorted.length; k++) {
      const piece = { start: sorted[k], end: sorted[k + 1], classes: [], token: null };
      layers.forEach(({ ranges, name }, layer) => {
        while (at[layer] < ranges.length && ranges[at[layer]][1] <= piece.start) at[layer] += 1;
        const range = ranges[at[layer]];
        if (!range || range[0] > piece.start) return;
        const found = range[2] ?? name;
        if (found) piece.classes.push(found);
        if (range[3] !== undefined) piece.token = range[3];
      });
      pieces.push(piece);
    }
    return pieces;
  }

  // --- characters that nobody sees ---------------------------------------------------------------

  const NAMES = {
    0x200b: "ZWSP", 0x200c: "ZWNJ", 0x200d: "ZWJ", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF",
    0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0x61c: "ALM", 0xfeff: "BOM", 0xa0: "NBSP",
  };
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\u00a0\u2028\u2029]/u;
  const HIDDEN_PARTS = /([\p{Cc}\p{Cf}\p{Cs}\p{Co}\u00a0\u2028\u2029])/u;

  // A hidden character as a sign: ␛, ↵ (with its line break), ⟦RLO⟧, ⟦U+0085⟧.
  function sign(character) {
    const code = character.codePointAt(0);
    if (code === 10) return "↵\n";
    if (code < 32) return String.fromCodePoint(0x2400 + code);
    if (code === 127) return "␡";
    return `⟦${NAMES[code] || `U+${code.toString(16).toUpperCase().padStart(4, "0")}`}⟧`;
  }

  // [[text, is a sign], ...]: the parts of a text, hidden characters as signs.
  function visible(text) {
    if (!HIDDEN.test(text)) return [[text, false]];
    return text
      .split(HIDDEN_PARTS)
      .map((part, i) => (i % 2 ? [sign(part), true] : [part, false]))
      .filter(([part]) => part);
  }

  // The same as one string.
  function plain(text) {
    return visible(text)
      .map(([part]) => part)
      .join("");
  }

  // --- search ------------------------------------------------------------------------------------

  // {source, flags} of what is looked for, case ignored; {error} for no pattern.
  function pattern(query, isRegExp) {
    const source = isRegExp ? query : query.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    try {
      new RegExp(source, "giu");
      return { source, flags: "giu" };
    } catch (error) {
      const why = String(error.message).replace(/^Invalid regular expression: /, "");
      return { error: `not a regular expression: ${why}` };
    }
  }

  // Ranges of a pattern in each text; empty matches do not count. Free of everything around it: it
  // also runs in a worker, which is ended where a pattern takes too long.
  function hits(source, flags, texts, limit) {
    return texts.map((text) => {
      const expression = new RegExp(source, flags);
      const found = [];
      for (let one; found.length < limit && (one = expression.exec(text)); ) {
        if (one[0].length) found.push([one.index, one.index + one[0].length]);
        else expression.lastIndex += 1;
      }
      return found;
    });
  }

  // True of patterns that may take for ever: a repeated group that holds a repetition or a choice, and
  // what refers back to a group.
  function risky(source) {
    const plainer = source.replace(/\\[^1-9k]/gu, "x").replace(/\[[^\]]*\]/gu, "x");
    if (/\\[1-9k]/u.test(plainer)) return true;
    const open = [false]; // of each group that is open: it holds a repetition or a choice
    for (let i = 0; i < plainer.length; i++) {
      if (plainer[i] === "(") open.push(false);
      else if (plainer[i] === ")") {
        const holds = open.pop();
        const repeated = /^[*+{]/u.test(plainer.slice(i + 1));
        if (holds && repeated) return true;
        if (open.length) open[open.length - 1] ||= holds || repeated;
      } else if ("*+{|".includes(plainer[i]) && open.length) open[open.length - 1] = true;
    }
    return false;
  }

  // {before, hit, after}: a hit with its surroundings on one line.
  function snippet(text, start, end, around = 40) {
    const line = (part) => plain(part.replace(/\s+/gu, " "));
    const from = Math.max(0, start - around);
    const to = Math.min(text.length, end + around);
    return {
      before: (from ? "…" : "") + line(text.slice(from, start)),
      hit: line(text.slice(start, Math.min(end, start + 3 * around))) + (end > start + 3 * around ? "…" : ""),
      after: line(text.slice(end, to)) + (to < text.length ? "…" : ""),
    };
  }

  // --- samples -----------------------------------------------------------------------------------

  // The place of the newest update that is not later than u, or -1. updates rise.
  function earlier(updates, u) {
    let [low, high] = [0, updates.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (updates[middle] <= u) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  return {
    words, items, merge, findLoop, loop, repeats, diff, tokens, levels, change, changed, shades, cut, visible, plain, sign,
    pattern, hits, risky, snippet, earlier, STEPS, CHANGES,
  };
})();

if (typeof module !== "undefined") module.exports = Words;
