"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
globalThis.Bands = require("../../src/collapse_lm/report/page/assets/bands.js");
const RunsTable = require("../../src/collapse_lm/report/page/assets/table.js");
const Compare = require("../../src/collapse_lm/report/page/assets/compare.js");

const rows = [3, null, 1, 2].map((x) => ({ values: { x } }));
const xs = (list) => list.map((row) => row.values.x);

test("what has no value comes last, whichever way a column is sorted", () => {
  assert.deepEqual(xs(RunsTable.sorted(rows, "x", 1)), [1, 2, 3, null]);
  assert.deepEqual(xs(RunsTable.sorted(rows, "x", -1)), [3, 2, 1, null]);
});

test("equal values keep the order of the page", () => {
  const equal = ["b", "a", "c"].map((name) => ({ name, values: { x: 1 } }));
  assert.deepEqual(RunsTable.sorted(equal, "x", -1).map((row) => row.name), ["b", "a", "c"]);
});

test("settings sort as numbers where they are numbers", () => {
  const rates = ["1e-5", "2e-06", "10"].map((x) => ({ values: { x: RunsTable.typed(x) } }));
  assert.deepEqual(xs(RunsTable.sorted(rates, "x", 1)), [2e-6, 1e-5, 10]);
  assert.equal(RunsTable.typed("cosine"), "cosine");
  assert.equal(RunsTable.typed(undefined), null);
});

test("a filter wants every word", () => {
  const lines = [{ text: "2e-5 failed" }, { text: "2e-5 finished" }];
  assert.deepEqual(RunsTable.filtered(lines, " FAILED 2e-5"), [lines[0]]);
  assert.deepEqual(RunsTable.filtered(lines, null), lines);
});

test("a comparison turns round with its interval", () => {
  const row = { name: "x", a: 4, b: 3, difference: -1, lower: -2, upper: -0.5 };
  const pages = [{ a: "g0", b: "g1", rows: [row] }];
  assert.equal(Compare.between(pages, "g0", "g1").rows[0], row);
  assert.deepEqual(Compare.between(pages, "g1", "g0").rows, [{ name: "x", a: 3, b: 4, difference: 1, lower: 0.5, upper: 2 }]);
  assert.equal(Compare.between(pages, "g0", "g2"), null);
});

test("two runs compare at an update, or at the nearest earlier one, which is told", () => {
  const a = { update: [0, 1, 2], columns: { x: [1, 2, null], y: [1, 1, 1] } };
  const b = { update: [0, 1, 2], columns: { x: [5, 5, 7] } };
  const [row, ...more] = Compare.atUpdate(["x", "y"], a, b, 2);
  assert.deepEqual([row.a, row.b, row.difference, row.note, more.length], [2, 7, 5, "of update 1 and 2", 0]);
});

test("the column of the time says that it is in minutes, in the CSV too", () => {
  const run = { settings: {}, spark: {}, seconds: 90 };
  const column = RunsTable.columnsOf({ runs: [run], names: {} }).at(-1);
  assert.deepEqual([column.id, column.title, column.value(run)], ["minutes", "minutes", 1.5]);
});

test("what two runs measured on other tokens is told, and turned with them", () => {
  const run = (tokens, bytes) => ({ measured: { sotu: { text: "0", tokens, bytes, context: "512" } } });
  const note = Compare.otherMeasure("validation.loss[sotu]", run("1,024"), run("512"));
  assert.equal(note, "measured on other tokens: 1,024 and 512, so that the difference is not of the models alone");
  assert.match(Compare.turn({ note }).note, /: 512 and 1,024, so/);
  assert.equal(Compare.otherMeasure("validation.loss[sotu]", run("1,024", "9"), run("all", "9")), "");
  assert.equal(Compare.otherMeasure("train.loss", run("1,024"), run("512")), "");
  assert.equal(Compare.otherMeasure("validation.loss[constructor]", run("1,024"), run("512")), "");
});

test("a name that repeats another in both runs is left out, and kept where it differs in one", () => {
  const same = { columns: { "train.loss": [1, 2], "probe.loss": [1, 2] } };
  const other = { columns: { "train.loss": [1, 2], "probe.loss": [1, 3] } };
  const left = (...all) => Compare.withoutTwins(["probe.loss", "train.loss"], { "probe.loss": "train.loss" }, all);
  assert.deepEqual(left(same, same), ["train.loss"]);
  assert.deepEqual(left(same, other), ["probe.loss", "train.loss"]);
});

test("two runs are compared by their times to collapse, where both have one", () => {
  const run = (at, before = false) => ({ end: { collapse_update: at, before_training: before } });
  assert.equal(Compare.collapses(run(8), run(6)).difference, -2);
  assert.deepEqual([Compare.collapses(run(null), run(6)).difference, Compare.collapses(run(null), run(6)).note], [null, "the first: has not collapsed"]);
  assert.equal(Compare.collapses(run(8), run(1, true)).b, null);
});
