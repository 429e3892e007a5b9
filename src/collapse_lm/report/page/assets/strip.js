// Strip: the time line of the explorer. A slider over updates with the share of loops above it, the states
// of the run, the hits of a search, and where both samples are.
"use strict";

const Strip = (() => {
  const WIDTH = 1000;
  const HEIGHT = 44;
  const TOP = 6;

  // {node, show({last, u, other, states, area, hits, label})}; setUpdate(u) is called as the slider moves.
  function create(setUpdate) {
    const picture = App.svg("svg", { class: "ex-strip", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    const input = App.el("input", { type: "range", min: 0, step: 1, id: "ex-slider", class: "ex-slider", "aria-label": "Update of the sample", on: { input: () => setUpdate(Number(input.value)) } });
    const strip = { picture, input, last: 1, drawn: null };
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      setUpdate(Math.round(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * strip.last));
    });
    strip.node = App.el("div", { class: "ex-time" }, picture, input);
    strip.fixed = App.svg("g", {});
    strip.found = App.svg("g", {});
    strip.here = App.svg("line", { class: "ex-here", y1: 0, y2: HEIGHT });
    strip.there = App.svg("line", { class: "ex-there", y1: 0, y2: HEIGHT });
    picture.append(strip.fixed, strip.found, strip.there, strip.here);
    return { node: strip.node, show: (view) => show(strip, view), hits: (hits) => drawHits(strip, hits), input };
  }

  const x = (strip, update) => ((WIDTH * update) / strip.last).toFixed(1);

  function show(strip, view) {
    const { input, picture } = strip;
    const last = Math.max(1, view.last);
    if (strip.last !== last || strip.drawn !== view.key) {
      strip.last = last;
      strip.drawn = view.key;
      input.max = last;
      drawFixed(strip, view);
      drawHits(strip, strip.hits || null);
    }
    input.value = view.u;
    input.setAttribute("aria-valuetext", view.told);
    place(strip.here, x(strip, view.u));
    place(strip.there, view.other === null ? null : x(strip, view.other));
    picture.setAttribute("aria-label", view.label);
  }

  function place(line, at) {
    if (at === null) line.setAttribute("visibility", "hidden");
    else {
      line.removeAttribute("visibility");
      line.setAttribute("x1", at);
      line.setAttribute("x2", at);
    }
  }

  // area: {update: [...], values: [...]} from 0 to 1, or null.
  function drawFixed(strip, { states, area }) {
    const nodes = [];
    if (area) {
      const points = area.update.map((u, i) => [x(strip, u), area.values[i]]).filter(([, value]) => value !== null && Number.isFinite(value));
      const y = (value) => (HEIGHT - Math.max(0, Math.min(1, value)) * (HEIGHT - TOP)).toFixed(1);
      if (points.length > 1) {
        const line = points.map(([at, value]) => `${at},${y(value)}`).join("L");
        nodes.push(App.svg("path", { class: "ex-area", d: `M${points[0][0]},${HEIGHT}L${line}L${points.at(-1)[0]},${HEIGHT}Z` }));
        nodes.push(App.svg("path", { class: "ex-line", d: `M${line}` }));
      }
    }
    for (const state of states) {
      const line = App.svg("line", { class: "ex-onset", x1: x(strip, state.update), x2: x(strip, state.update), y1: 0, y2: HEIGHT });
      line.append(App.svg("title", {}, `update ${state.update}: ${state.title}`));
      nodes.push(line);
    }
    strip.fixed.replaceChildren(...nodes);
  }

  // hits: Map of update -> number, or null.
  function drawHits(strip, hits) {
    strip.hits = hits;
    if (!hits || !hits.size) {
      strip.found.replaceChildren();
      return;
    }
    const most = Math.max(...hits.values());
    const d = [...hits].map(([update, count]) => `M${x(strip, update)},${HEIGHT}v${(-6 - ((HEIGHT - TOP - 6) * count) / most).toFixed(1)}`).join("");
    strip.found.replaceChildren(App.svg("path", { class: "ex-hits", d }));
  }

  return { create };
})();
