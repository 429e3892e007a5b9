// App.state: one store, kept in the address behind "#". Every control writes it; opening the address restores it.
"use strict";

const StateCodec = (() => {
  // What each key of the address holds. null: not chosen.
  const KINDS = {
    view: "text", u: "number", run: "text", text: "number", with: "text", wu: "number", shade: "text",
    x: "text", log: "list", off: "list", zoom: "pair", q: "text", re: "flag", diff: "text", marks: "list",
    a: "text", b: "text", sort: "text", filter: "text", open: "list", shut: "list",
  };
  const EMPTY = { text: null, number: null, list: [], pair: null, flag: false };

  function read(kind, text) {
    if (kind === "number") return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
    if (kind === "list") return text === "" ? [] : text.split(",").map(decodeItem);
    if (kind === "flag") return text === "1";
    if (kind === "pair") {
      const ends = text.split(",").map(Number);
      return ends.length === 2 && ends.every(Number.isFinite) && ends[0] < ends[1] ? ends : null;
    }
    return text;
  }

  // An item of a list may hold commas: they are written twice escaped.
  function decodeItem(item) {
    try {
      return decodeURIComponent(item);
    } catch {
      return item;
    }
  }

  function write(kind, value) {
    if (kind === "list") return value.map((item) => String(item).replace(/[%,]/g, encodeURIComponent)).join(",");
    if (kind === "flag") return value ? "1" : "0";
    if (kind === "pair") return value.map((end) => Number(end.toPrecision(6))).join(",");
    return String(value);
  }

  // "#u=12&run=r0" -> {u: 12, run: "r0"}; keys that nobody knows are dropped.
  function parse(hash) {
    const state = {};
    for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
      if (!Object.hasOwn(KINDS, key)) continue;
      const value = read(KINDS[key], text);
      if (value !== null) state[key] = value;
    }
    return state;
  }

  function same(a, b) {
    return a === b || (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => x === b[i]));
  }

  // The reverse; what equals the defaults is left out.
  function format(state, defaults) {
    const parts = new URLSearchParams();
    for (const key of Object.keys(KINDS)) {
      const value = state[key];
      if (value === null || value === undefined || same(value, defaults[key])) continue;
      parts.set(key, write(KINDS[key], value));
    }
    return parts.toString().replaceAll("%2C", ",");
  }

  function empty() {
    return Object.fromEntries(Object.entries(KINDS).map(([key, kind]) => [key, EMPTY[kind]]));
  }

  return { parse, format, same, empty, KINDS };
})();

if (typeof App !== "undefined") {
  App.state = (() => {
    let defaults = Object.freeze(StateCodec.empty());
    let state = defaults;
    let timer = 0;
    const listeners = new Set();

    // get() is the whole state (frozen), get("u") one value.
    function get(key) {
      return key === undefined ? state : state[key];
    }

    // set({u: 12, run: "r0"}): null (or []) goes back to the default. Listeners are called at once, with
    // the state and the Set of keys that changed; nothing happens where nothing changes.
    function set(changes) {
      const next = { ...state };
      const changed = new Set();
      for (const [key, value] of Object.entries(changes)) {
        if (!Object.hasOwn(StateCodec.KINDS, key)) throw new Error(`no such key of the state: ${key}`);
        const wanted = value === null || value === undefined ? defaults[key] : value;
        if (StateCodec.same(wanted, next[key])) continue;
        next[key] = wanted;
        changed.add(key);
      }
      if (!changed.size) return;
      state = Object.freeze(next);
      write();
      tell(changed);
    }

    function tell(changed) {
      for (const [f, keys] of listeners) if (!keys || keys.some((key) => changed.has(key))) f(state, changed);
    }

    // subscribe(f) or subscribe(f, ["u", "run"]): f(state, changed). Returns how to stop.
    function subscribe(f, keys = null) {
      const entry = [f, keys];
      listeners.add(entry);
      return () => listeners.delete(entry);
    }

    // Browsers limit how often the address may change: at most five times a second.
    function write() {
      if (timer) return;
      timer = setTimeout(flush, 200);
    }

    function flush() {
      clearTimeout(timer);
      timer = 0;
      const hash = StateCodec.format(state, defaults);
      history.replaceState(null, "", hash ? `#${hash}` : `${location.pathname}${location.search}`);
    }

    // The page's own defaults, then what the address says; called once by main.js, and at hashchange.
    function start(pageDefaults) {
      defaults = Object.freeze({ ...StateCodec.empty(), ...pageDefaults });
      state = Object.freeze({ ...defaults, ...StateCodec.parse(location.hash) });
      window.addEventListener("hashchange", () => {
        if (location.hash && !location.hash.includes("=")) return flush(); // an anchor, not a state
        clearTimeout(timer);
        timer = 0;
        set({ ...defaults, ...StateCodec.parse(location.hash) });
      });
    }

    // The address of this state, to be copied.
    function link() {
      flush();
      return location.href;
    }

    return { get, set, subscribe, start, link };
  })();
}

if (typeof module !== "undefined") module.exports = StateCodec;
