"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const vm = require("node:vm");

const FILE = path.join(__dirname, "../../src/collapse_lm/report/page/assets/source.js");

// A live page of one run, whose streams and timers are the test's own.
async function opened() {
  const streams = [];
  const later = [];
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
  const page = { live: true, runs: [{ id: "r0", rows: "rows-r0", samples: { blocks: [] } }] };
  const world = {
    App: {}, EventSource, document: { getElementById: () => null, querySelectorAll: () => [] },
    fetch: async () => ({ ok: true, json: async () => page }), setTimeout: (f) => later.push(f),
  };
  vm.runInNewContext(fs.readFileSync(FILE, "utf8"), world);
  await world.App.source.load();
  return { source: world.App.source, streams, later };
}

test("after a stream that was refused, all runs are read anew", async () => {
  const { source, streams, later } = await opened();
  const changes = [];
  source.listen((_, ids) => changes.push(ids.join()), () => {});
  streams[0].heard.open();
  streams[0].readyState = 2; // the server answered with an error: a browser does not try again
  streams[0].heard.error();
  later[0]();
  streams[1].heard.open();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(changes, ["r0"]);
});
