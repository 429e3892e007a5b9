"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const vm = require("node:vm");

const FILE = path.join(__dirname, "../../src/collapse_lm/view/assets/index.js");

test("after a stream that was refused, the list is asked for anew", () => {
  const [streams, later, asked] = [[], [], []];
  class EventSource {
    static CLOSED = 2;
    readyState = 1;
    heard = {};
    constructor() {
      streams.push(this);
    }
    addEventListener(name, f) {
      this.heard[name] = f;
    }
  }
  vm.runInNewContext(fs.readFileSync(FILE, "utf8"), {
    EventSource, document: { getElementById: () => ({}) }, location: { pathname: "/" },
    fetch: (name) => asked.push(name), setTimeout: (f) => later.push(f),
  });
  streams[0].heard.open();
  assert.deepEqual(asked, []);
  streams[0].readyState = 2; // the server answered with an error: a browser does not try again
  streams[0].heard.error();
  later[0]();
  streams[1].heard.open();
  assert.deepEqual(asked, ["/"]);
});
