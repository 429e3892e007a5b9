// App.source: the page object and the blocks, from within the report or over HTTP in the live view.
"use strict";

App.source = (() => {
  const KEPT_SAMPLES = 32; // blocks of samples that stay decoded
  const KEPT_ROWS = 400;
  let page = null;
  let inline = null; // id -> <script>, once it was asked for
  const kept = { samples: new Map(), rows: new Map() };

  // The page object; null before load().
  function current() {
    return page;
  }

  async function load() {
    const script = document.getElementById("page");
    page = script ? JSON.parse(script.textContent) : await fetchJson("page.json");
    return page;
  }

  async function fetchJson(path) {
    const answer = await fetch(path, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`${path}: the server answered ${answer.status}`);
    return answer.json();
  }

  function inlineBlock(id) {
    if (!inline) {
      inline = new Map();
      for (const script of document.querySelectorAll("script[data-block]")) inline.set(script.dataset.block, script);
    }
    return inline.get(id);
  }

  function bytesOf(base64) {
    const text = base64.trim();
    if (typeof Uint8Array.fromBase64 === "function") return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  async function decode(base64) {
    const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  async function read(id) {
    const script = inlineBlock(id);
    if (script) return decode(script.textContent);
    if (!page.live) throw new Error(`the page has no block ${id}`);
    return fetchJson(`block/${encodeURIComponent(id)}`);
  }

  // block(id): a promise of what the block holds. Asked for twice it is decoded once; of the samples
  // the latest 32 blocks are kept, so that a page of many runs does not fill the memory.
  function block(id) {
    const rows = id.startsWith("rows-");
    const cache = rows ? kept.rows : kept.samples;
    let promise = cache.get(id);
    if (promise) cache.delete(id);
    else {
      promise = read(id);
      promise.catch(() => cache.delete(id));
    }
    cache.set(id, promise);
    const limit = rows ? KEPT_ROWS : KEPT_SAMPLES;
    if (cache.size > limit) cache.delete(cache.keys().next().value);
    return promise;
  }

  function run(id) {
    return page.runs.find((one) => one.id === id) || null;
  }

  // Rows of a run: {update: [...], columns: {name: [...]}}, numbers or null.
  function rows(id) {
    return block(run(id).rows);
  }

  function forget(runs) {
    for (const one of runs) {
      kept.rows.delete(one.rows);
      for (const [id] of one.samples.blocks) kept.samples.delete(id);
    }
  }

  // Live: onChange(page, ids of runs that changed), onLink(true|false) as the connection comes and goes.
  function listen(onChange, onLink, lost = false) {
    const events = new EventSource("events");
    let waiting = null; // ids that came while a page was being fetched

    async function refresh(ids) {
      if (waiting) {
        ids.forEach((id) => waiting.add(id));
        return;
      }
      waiting = new Set();
      try {
        const before = page;
        const next = await fetchJson("page.json");
        const touched = new Set(ids);
        forget(before.runs.filter((one) => touched.has(one.id)));
        forget(next.runs.filter((one) => touched.has(one.id)));
        page = next;
        await onChange(page, [...touched]);
      } catch {
        onLink(false);
      }
      const more = waiting;
      waiting = null;
      if (more.size) refresh([...more]);
    }

    events.addEventListener("changed", (event) => refresh(JSON.parse(event.data).runs || []));
    events.addEventListener("open", () => {
      onLink(true);
      if (lost) refresh(page.runs.map((one) => one.id)); // what happened meanwhile is unknown
      lost = false;
    });
    events.addEventListener("error", () => {
      lost = true;
      onLink(false);
      if (events.readyState === EventSource.CLOSED) setTimeout(() => listen(onChange, onLink, true), 3000);
    });
    return () => events.close();
  }

  return { page: current, load, block, run, rows, listen };
})();
