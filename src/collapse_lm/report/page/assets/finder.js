// Finder: looks for a pattern in texts, in a worker that is ended where the pattern takes too long.
// Where no worker may start, on the page itself, and patterns that may take for ever are refused.
"use strict";

const Finder = (() => {
  const PATIENCE_MS = 1500; // for one call: a few dozen texts
  const MOST = 200; // hits per text
  let worker = null;
  let refused = typeof Worker === "undefined";
  let number = 0;
  const waiting = new Map();

  class TooSlow extends Error {}

  function start() {
    const code = `"use strict";
const hits = ${Words.hits.toString()};
onmessage = ({ data: [number, source, flags, texts, limit] }) => postMessage([number, hits(source, flags, texts, limit)]);`;
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    try {
      worker = new Worker(url);
    } catch {
      refused = true;
      return;
    } finally {
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    }
    worker.onmessage = ({ data: [id, found] }) => settle(id, found);
    worker.onerror = (event) => {
      event.preventDefault?.();
      refused = true;
      end();
    };
  }

  function settle(id, found) {
    const one = waiting.get(id);
    if (!one) return;
    waiting.delete(id);
    clearTimeout(one.timer);
    one.resolve(found);
  }

  // Ends the worker; what waits is done here where no worker may run, else it is too slow.
  function end() {
    worker?.terminate();
    worker = null;
    const all = [...waiting.values()];
    waiting.clear();
    for (const one of all) {
      clearTimeout(one.timer);
      if (refused) here(one.pattern, one.texts).then(one.resolve, one.reject);
      else one.reject(new TooSlow("the pattern takes too long on these samples; a simpler one is needed"));
    }
  }

  async function here({ source, flags, isRegExp }, texts) {
    if (isRegExp && Words.risky(source)) throw new TooSlow("a repeated group that holds a repetition may take for ever here; a simpler pattern is needed");
    return Words.hits(source, flags, texts, MOST);
  }

  // A promise of the ranges of hits in each text; rejected with Finder.TooSlow.
  function find(pattern, texts) {
    if (!refused && !worker) start();
    if (refused) return here(pattern, texts);
    number += 1;
    const id = number;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(end, PATIENCE_MS);
      waiting.set(id, { resolve, reject, timer, pattern, texts });
      worker.postMessage([id, pattern.source, pattern.flags, texts, MOST]);
    });
  }

  return { find, TooSlow };
})();
