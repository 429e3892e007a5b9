"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const Bands = require("../../src/collapse_lm/report/page/assets/bands.js");

const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);

test("a line passes over what was not measured by schedule", () => {
  const xs = [0, 1, 2, 3, 4, 5, 6];
  assert.deepEqual(Bands.gaps(xs, [1, null, 2, null, 3, null, 4]), [1, undefined, 2, undefined, 3, undefined, 4]);
});

test("a number that is missing among others leaves a gap", () => {
  const out = Bands.gaps([0, 1, 2, 3, 4], [1, 2, null, 3, 4]);
  assert.deepEqual(out, [1, 2, null, 3, 4]);
});

test("the evaluation at the end of a run, off schedule, is joined to the line", () => {
  const xs = Array.from({ length: 13 }, (_, i) => i);
  const ys = xs.map((x) => (x % 5 === 0 || x === 12 ? x : null));
  assert.ok(!Bands.gaps(xs, ys).includes(null));
});

test("a line without any number is empty, not a gap", () => {
  assert.deepEqual(Bands.gaps([0, 1], [null, null]), [undefined, undefined]);
});

test("lines of different updates meet on one axis", () => {
  const axis = Bands.union([[0, 2, 4], [1, 2, 3]]);
  assert.deepEqual([...axis], [0, 1, 2, 3, 4]);
  assert.deepEqual(Bands.place(axis, [1, 2, 3], [5, null, 7]), [undefined, 5, null, 7, undefined]);
});

test("between neighbours a line is straight, outside of its run it is nothing", () => {
  const out = Bands.resample([0, 1, 2, 3, 4, 5], [1, 3, 4], [10, 20, null]);
  assert.deepEqual(out, [undefined, 10, 15, 20, null, undefined]);
});

test("a mean ends where the first of its runs ends", () => {
  const lines = [[1, 2, undefined], [3, 4, 5]];
  const { mean, low, high, kind } = Bands.mean([0, 1, 2], lines, [1, 2]);
  assert.deepEqual(mean, [2, 3, undefined]);
  assert.deepEqual([low, high, kind], [[1, 2, undefined], [3, 4, undefined], "range"]);
});

test("from five runs on the band is a standard error", () => {
  const { mean, low, high, kind } = Bands.mean([0], [[1], [2], [3], [4], [5]], [0, 0, 0, 0, 0]);
  assert.equal(kind, "standard error");
  near(mean[0], 3);
  near(high[0] - mean[0], Math.sqrt(2.5 / 5));
  near(mean[0] - low[0], Math.sqrt(2.5 / 5));
});

test("there is no mean where a run has no number", () => {
  assert.deepEqual(Bands.mean([0, 1], [[1, null], [2, 3]], [1, 1]).mean, [1.5, null]);
});

test("a value at an update is that of the nearest earlier one that has a value", () => {
  const updates = [0, 1, 2, 4];
  assert.deepEqual(Bands.valueAt(updates, [9, null, 7, null], 1), [9, 0]);
  assert.deepEqual(Bands.valueAt(updates, [9, null, 7, null], 3), [7, 2]);
  assert.deepEqual(Bands.valueAt(updates, [9, null, 7, null], 100), [7, 2]);
  assert.equal(Bands.valueAt(updates, [null, null, 7, null], 1), null);
  assert.equal(Bands.valueAt(updates, undefined, 1), null);
});

test("elapsed seconds count no part twice", () => {
  const rows = { update: [0, 1], columns: { "seconds.sample": [null, 2], "seconds.evaluate": [1, 3], "seconds.log_probs": [null, 9] } };
  assert.deepEqual(Bands.elapsed(rows), [1, 6]);
});

test("runs at risk follow from the curve and the censored runs", () => {
  // Five runs: collapses at 3, 5, 5; censored at 4 and 8.
  const curve = { runs: 5, time: [0, 3, 5], survival: [1, 0.8, 0.8 * (1 / 3)], censored: [4, 8] };
  assert.deepEqual([0, 3, 4, 5, 6, 8, 9].map((t) => Bands.atRisk(curve, t)), [5, 5, 4, 3, 1, 1, 0]);
});

test("labels lose the words that all share", () => {
  assert.deepEqual(Bands.shortened(["learning rate 2e-5, seed 0", "learning rate 1e-5, seed 0"]), ["2e-5, seed 0", "1e-5, seed 0"]);
  assert.deepEqual(Bands.shortened(["a b", "a b c, d"]), ["a b", "a b c, d"]);
  assert.deepEqual(Bands.shortened(["learning rate 2e-5"]), ["learning rate 2e-5"]);
  assert.deepEqual(Bands.shortened(["a 1, b 2, c 3", "a 2, b 2, c 4"]), ["a 1, b 2, c 3", "a 2, b 2, c 4"]); // bare values would tell nothing
});

test("names of one unit share a figure, and a large family has its own", () => {
  const text = ["text.loop_share", "text.distinct_3", "text.seq_rep_4", "text.distinct_2", "text.distinct_1"];
  assert.deepEqual(Bands.families(text, () => ""), [["text.loop_share", "text.seq_rep_4"], ["text.distinct_3", "text.distinct_2", "text.distinct_1"]]);
  assert.deepEqual(Bands.families(["a", "b", "c"], (name) => String(name === "b")), [["a", "c"], ["b"]]);
});
