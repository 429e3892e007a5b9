"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const State = require("../../src/collapse_lm/report/page/assets/state.js");
const Csv = require("../../src/collapse_lm/report/page/assets/csv.js");

const full = (some) => ({ ...State.empty(), ...some });

test("the address gives back what was written", () => {
  const state = full({ view: "samples", u: 12, run: "r0", off: ["r2", "text.distinct_1", "a,b%2C"], zoom: [0.5, 100], re: true, q: "a&b=#c+d é" });
  assert.deepEqual(full(State.parse(`#${State.format(state, State.empty())}`)), state);
});

test("defaults are not written", () => {
  assert.equal(State.format(full({ u: 3 }), full({ u: 3 })), "");
});

test("an empty list that differs from the default is written", () => {
  const defaults = full({ open: ["loss"] });
  assert.deepEqual(State.parse(State.format(full({}), defaults)).open, []);
});

test("keys that nobody knows and numbers that are none are dropped", () => {
  assert.deepEqual(State.parse("#__proto__=1&toString=2&u=x&zoom=3,1&wu="), {});
});

test("lists stay readable in the address", () => {
  assert.equal(State.format(full({ off: ["r1", "r2"] }), State.empty()), "off=r1,r2");
});

test("CSV quotes what needs it and makes no formula", () => {
  const text = Csv.format(["run", "x"], [['a "b", c', -0.5], ["=1+1", null], ["@x", NaN], ["-x", 1e-7]]);
  assert.equal(text, 'run,x\r\n"a ""b"", c",-0.5\r\n\'=1+1,\r\n\'@x,\r\n\'-x,1e-7\r\n');
});

test("file names hold nothing that a file system minds", () => {
  assert.equal(Csv.fileName("../../Train & validation <loss>"), "train-validation-loss.csv");
  assert.equal(Csv.fileName("…"), "table.csv");
});
