// The sample explorer: the text of any update, beside that of any other, with what is known of its tokens.
"use strict";

(() => {
  const { el } = App;
  const KEYS = ["u", "run", "text", "with", "wu", "shade", "q", "re", "diff", "marks", "page"];
  const PLAY_MS = 500;
  const LONG = 15000; // characters of both texts, beyond which marks wait
  const REST_MS = 120;
  const MARKS = [
    ["loop", "loops", "underline the longest run of tokens that repeats with one period"],
    ["repeats", "repeated 4-grams", "mark the 4-grams of words that stand in the text more than once"],
    ["diff", "differences", "mark the words that stand on one side only"],
    ["raw", "raw", "show control characters and reading marks as signs"],
  ];
  const SHADES = [
    ["", "nothing"],
    ["p", "probability, current model"],
    ["h", "entropy, current model"],
    ["d", "current against base model"],
  ];
  const view = { page: null, turn: 0, asked: false, timer: 0, second: null, drawn: [null, null], areas: new Map(), kept: new WeakMap() };

  // --- what is shown -----------------------------------------------------------------------------

  const runOf = (id) => view.page.runs.find((one) => one.id === id) || view.page.runs[0];
  const lastUpdate = () => Math.max(1, ...view.page.runs.map((one) => one.updates || 0));
  const LITTLE = 0.3; // texts that share a smaller part of their words are not marked unless it is asked for
  // What the reader chose of a mark: true, false, or null for what is usual.
  const chosen = (mark) => (App.state.get("marks").includes(mark) ? true : App.state.get("marks").includes(`no-${mark}`) ? false : null);
  const is = (mark) => chosen(mark) ?? (mark === "diff" ? !view.unlike : mark !== "raw");
  const onsets = (run) => run.states.filter((one) => Number.isFinite(one.update));
  const shortly = (text) => Words.plain(String(text));

  // How the right side is chosen: "first", "previous", "same", "last", "at" (update wu) or a state's name.
  function modeOf(state, left, right) {
    if (state.diff) return state.diff;
    if (state.wu !== null) return "at";
    return left === right ? "first" : "same";
  }

  function otherUpdate(state, left, right, shown) {
    const { updates } = right.samples;
    const mode = modeOf(state, left, right);
    const simple = { first: updates[0], last: updates.at(-1), same: state.u, at: state.wu ?? state.u, previous: (shown ?? state.u) - 1 };
    if (mode in simple) return simple[mode] ?? 0;
    return onsets(right).find((one) => one.name === mode)?.update ?? state.u;
  }

  // {place, update} of the sample of a run that stands for update u, or null.
  function sampleAt(run, u) {
    const place = Words.earlier(run.samples.updates, u);
    return place < 0 ? null : { place, update: run.samples.updates[place] };
  }

  async function textsOf(run, sample) {
    if (!sample) return [];
    const block = run.samples.blocks.find(([, first, last]) => first <= sample.place && sample.place < last);
    if (!block) return [];
    return (await App.source.block(block[0])).samples[sample.place - block[1]] || [];
  }

  // The blocks before and after, so that the slider finds them ready.
  function prefetch(run, sample) {
    if (!sample) return;
    const at = run.samples.blocks.findIndex(([, first, last]) => first <= sample.place && sample.place < last);
    const idle = window.requestIdleCallback || ((f) => setTimeout(f, 50));
    idle(() => {
      for (const block of [run.samples.blocks[at + 1], run.samples.blocks[at - 1]]) if (block) App.source.block(block[0]).catch(() => {});
    });
  }

  function noteOf(run, u, sample) {
    if (!run.samples.updates.length) return "This run recorded no samples.";
    const first = run.samples.updates[0];
    if (!sample) return `Update ${u} has no sample: ${u === 0 ? "it is the base model before its first draw" : "none was recorded so early"}. The first is of update ${first}.`;
    if (sample.update === u) return "";
    const end = run.updates !== undefined && run.updates < u ? `; the run has ${run.updates} updates` : run.samples.thinned ? "; this page keeps some updates only" : "";
    return `Update ${u}: sample of update ${sample.update}, the nearest earlier one${end}.`;
  }

  function subOf(run, sample, one) {
    const parts = [];
    if (view.page.runs.length > 1) parts.push(shortly(run.label || run.name));
    if (one && one.origin === "own") parts.push(sample.update === 1 ? "drawn from the base model" : `drawn after ${sample.update - 1} update${sample.update === 2 ? "" : "s"}`);
    else if (one && one.origin) parts.push(`origin: ${shortly(one.origin)}`);
    if (one && one.role === "probe") parts.push("probe");
    return parts.join(" · ");
  }

  // --- marks -------------------------------------------------------------------------------------

  // Loop and repetitions of a text, found once.
  function factsOf(one) {
    if (!view.kept.has(one)) view.kept.set(one, { loop: Words.loop(one.text, one.ends), repeats: Words.repeats(one.text) });
    return view.kept.get(one);
  }

  function shadeOf(run, one, kind) {
    if (!kind || !one) return "";
    if (!one.ends || !one.ends.length) return "it is not recorded where the tokens of this text end";
    if (kind === "h" && !one.h) return "the entropy of each token is not recorded here";
    if (kind !== "h" && !one.p) return "no probability is recorded of this text";
    if (kind === "d" && !one.b) return "probabilities under the base model are not recorded (measures: [base_log_probability])";
    return "";
  }

  function layersOf(run, one, side, changes, hits, kind) {
    const layers = [];
    const { loop, repeats } = factsOf(one);
    if (is("loop") && loop) layers.push({ ranges: loop.ranges.map(([start, end], i) => [start, end, i % 2 ? "ex-loop ex-turn" : "ex-loop"]) });
    if (is("repeats")) layers.push({ ranges: repeats.ranges, name: "ex-rep" });
    if (changes) layers.push({ ranges: changes[side === "left" ? "removed" : "added"], name: side === "left" ? "ex-removed" : "ex-added" });
    if (hits) layers.push({ ranges: hits, name: "ex-hit" });
    if (kind && !shadeOf(run, one, kind)) layers.push({ ranges: Words.shades(one, kind) });
    return layers;
  }

  const percent = (share) => `${Math.round(100 * share)} %`;

  function legendOf(one, side, changes, found) {
    const { loop, repeats } = factsOf(one);
    const parts = [];
    const swatch = (name, text) => parts.push(el("span", { class: "ex-key" }, el("span", { class: name }, text[0]), text[1]));
    if (is("loop") && loop) {
      const often = loop.times >= 10 ? Math.round(loop.times) : App.number(loop.times, 2);
      swatch("ex-loop", ["loop", ` ${percent(loop.share)} of the ${loop.unit}, period ${loop.period}, ${often} times`]);
    } else if (is("loop")) parts.push(el("span", { class: "ex-key" }, "no loop"));
    if (is("repeats")) swatch("ex-rep", ["repeated", ` ${repeats.different} 4-gram${repeats.different === 1 ? "" : "s"}, ${percent(repeats.share)} of the words`]);
    if (changes) {
      if (side === "left") swatch("ex-removed", ["left only", ` ${changes.left} word${changes.left === 1 ? "" : "s"}`]);
      else swatch("ex-added", ["right only", ` ${changes.right} word${changes.right === 1 ? "" : "s"}`]);
      parts.push(el("span", { class: "ex-key" }, `the same: ${changes.same}`));
    } else if (found && view.unlike && view.sought) parts.push(el("span", { class: "ex-key" }, `differences: not marked, only ${found.same} words are the same`));
    return parts;
  }

  // --- rendering ---------------------------------------------------------------------------------

  function ask() {
    if (view.asked) return;
    view.asked = true;
    requestAnimationFrame(() => {
      view.asked = false;
      render().catch((error) => {
        view.left.show({ heading: "Sample", sub: "", note: `This sample could not be read: ${error.message}`, texts: [], index: 0, layers: [], legend: [] });
        console.error(error);
      });
    });
  }

  async function render() {
    const state = App.state.get();
    view.turn += 1;
    const { turn } = view;
    const run = runOf(state.run);
    const sample = sampleAt(run, state.u);
    const second = state.with ? runOf(state.with) : run;
    const wanted = otherUpdate(state, run, second, sample?.update);
    const other = sampleAt(second, wanted);
    drawControls(state, run, second, sample, wanted);
    drawStrip(state, run, sample, other, second);
    const [texts, others] = await Promise.all([textsOf(run, sample), textsOf(second, other)]);
    if (turn !== view.turn) return;
    const index = Math.max(0, Math.min(state.text ?? 0, texts.length - 1));
    const at = Math.max(0, Math.min(view.second ?? index, others.length - 1));
    const one = texts[index] || null;
    const two = others[at] || null;
    if (await plainFirst(run, second, [one, two], [sample, other], [state.u, wanted], turn)) return;
    const found = one && two && chosen("diff") !== false ? compared(one.text, two.text) : null;
    view.unlike = Boolean(found && found.same < LITTLE * (found.same + Math.max(found.left, found.right)));
    view.sought = Boolean(state.diff || state.with || state.wu !== null); // the reader chose what stands beside
    const changes = found && is("diff") ? found : null;
    view.marks.diff.checked = is("diff");
    const sides = [
      { pane: view.left, side: "left", run, texts, index, one, sample, u: state.u, found },
      { pane: view.right, side: "right", run: second, texts: others, index: at, one: two, sample: other, u: wanted, found },
    ];
    for (const each of sides) showSide(each, state, changes);
    drawShade(state, run, one);
    prefetch(run, sample);
    if (state.q) mark(sides, state, changes, turn);
  }

  // Very long texts are shown without marks at once, and with them when the slider rests. True where
  // the reader has gone on meanwhile.
  async function plainFirst(run, second, texts, samples, updates, turn) {
    const length = texts.reduce((sum, one) => sum + (one ? one.text.length : 0), 0);
    const isNew = texts.some((one, i) => one !== view.drawn[i]);
    if (length < LONG || !isNew) {
      view.drawn = texts;
      return false;
    }
    [view.left, view.right].forEach((pane, i) => {
      const from = i ? second : run;
      if (texts[i] === view.drawn[i]) return;
      pane.show({ heading: `Update ${samples[i] ? samples[i].update : updates[i]}`, sub: subOf(from, samples[i], texts[i]), note: noteOf(from, updates[i], samples[i]), texts: texts[i] ? [texts[i]] : [], index: 0, raw: is("raw"), shaded: false, layers: [], legend: [] });
    });
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
    if (turn !== view.turn) return true;
    view.drawn = texts;
    return false;
  }

  function compared(a, b) {
    if (!view.compared || view.compared.a !== a || view.compared.b !== b) view.compared = { a, b, changes: Words.diff(a, b) };
    return view.compared.changes;
  }

  function showSide({ pane, side, run, texts, index, one, sample, u, found }, state, changes) {
    pane.show({
      heading: `Update ${sample ? sample.update : u}`,
      sub: subOf(run, sample, one),
      note: noteOf(run, u, sample),
      texts,
      index,
      raw: is("raw"),
      shaded: Boolean(one && one.ends && one.ends.length && state.shade && !shadeOf(run, one, state.shade)),
      layers: one ? layersOf(run, one, side, changes, null, state.shade) : [],
      legend: one ? legendOf(one, side, changes, found) : [],
    });
  }

  // The hits of the search in both texts, once they are found.
  async function mark(sides, state, changes, turn) {
    const shown = sides.filter(({ one }) => one);
    const found = await (view.search.ranges(shown.map(({ one }) => one.text)) || Promise.resolve(null)).catch(() => null);
    if (!found || turn !== view.turn) return;
    shown.forEach(({ pane, side, run, one, found: words }, i) => {
      if (found[i].length) pane.marks(layersOf(run, one, side, changes, found[i], state.shade), legendOf(one, side, changes, words));
    });
  }

  function drawStrip(state, run, sample, other, second) {
    const area = view.areas.get(run.id) || null;
    if (!view.areas.has(run.id)) loadArea(run);
    const told = sample && sample.update !== state.u ? `update ${state.u}, sample of update ${sample.update}` : `update ${state.u}`;
    const states = onsets(run);
    view.strip.show({
      last: lastUpdate(),
      u: state.u,
      told,
      states,
      area,
      other: other ? other.update : null,
      key: JSON.stringify([run.id, run.updates, states.map((one) => one.update), area ? area.update.length : 0]),
      label: `Share of the sample that lies in a loop, by update${states.length ? `; ${states.map((one) => `update ${one.update}: ${one.title}`).join("; ")}` : ""}`,
    });
    view.strip.hits(view.search.countsOf(run.id));
    view.told.textContent = `update ${state.u}${state.u > lastUpdate() ? "; the last is" : " of"} ${lastUpdate()}`;
    const facts = [area && "filled: share of the sample in a loop", other && `dotted: right sample, update ${other.update}${second === run ? "" : ` of ${shortly(second.label || second.name)}`}`];
    view.there.textContent = facts.filter(Boolean).join(" · ");
  }

  async function loadArea(run) {
    view.areas.set(run.id, null);
    try {
      const rows = await App.source.rows(run.id);
      const values = rows.columns["text.loop_share"];
      const repeated = rows.columns["text.seq_rep_4"];
      view.areas.set(run.id, values ? { update: rows.update, values, repeated: repeated || values } : null);
    } catch {
      return; // the curves tell what is wrong with the rows
    }
    if (view.areas.get(run.id)) ask();
  }

  // --- controls ----------------------------------------------------------------------------------

  function drawControls(state, run, second, sample, wanted) {
    fill(view.run, view.page.runs.map((one) => [one.id, shortly(one.label || one.name)]), run.id);
    fill(view.with, [["", view.page.runs.length > 1 ? "the same run" : "this run"], ...view.page.runs.filter((one) => one !== run).map((one) => [one.id, shortly(one.label || one.name)])], second === run ? "" : second.id);
    const mode = modeOf(state, run, second);
    const modes = [
      ["first", "the first sample"],
      ["previous", "the sample before"],
      ...(second === run ? [] : [["same", "the same update"]]),
      ...onsets(second).map((one) => [one.name, `${shortly(one.name)} (update ${one.update})`]),
      ["last", "the last sample"],
      ["at", "update …"],
    ];
    fill(view.mode, modes, modes.some(([id]) => id === mode) ? mode : "at");
    view.at.hidden = mode !== "at";
    view.at.max = second.updates || 0;
    if (document.activeElement !== view.at) view.at.value = wanted;
    for (const [mark] of MARKS) view.marks[mark].checked = is(mark);
    const { updates } = run.samples;
    view.previous.disabled = !sample || sample.place === 0;
    view.next.disabled = !updates.length || (sample !== null && sample.place === updates.length - 1);
    drawJumps(run);
    view.runLabel.hidden = view.page.runs.length < 2;
    view.withLabel.hidden = view.page.runs.length < 2;
  }

  // A select's options, touched only where they changed.
  function fill(select, options, value) {
    const key = JSON.stringify(options);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      App.clear(select, options.map(([id, text]) => el("option", { value: id }, text)));
    }
    select.value = value;
  }

  function drawJumps(run) {
    const { updates } = run.samples;
    const jumps = updates.length ? [["first", updates[0]], ...onsets(run).map((one) => [shortly(one.name), one.update, one.title]), ["last", updates.at(-1)]] : [];
    const key = JSON.stringify([run.id, jumps]);
    if (view.jumps.dataset.key === key) return;
    view.jumps.dataset.key = key;
    const button = ([text, u, title]) => el("button", { type: "button", title: title ? shortly(title) : null, dataset: { jump: text }, on: { click: () => App.state.set({ u }) } }, `${text} `, el("span", { class: "ex-faint" }, u));
    const loudest = el("button", { type: "button", title: "the update whose sample repeats itself most", on: { click: () => loud(run) } }, "most repetitive");
    App.clear(view.jumps, jumps.length ? [el("span", { class: "ex-label" }, "go to "), jumps.map(button), loudest] : null);
  }

  // The update with the largest share in a loop; among equals the one with most repeated 4-grams.
  async function loud(run) {
    const rows = await App.source.rows(run.id);
    const [loops, repeated] = ["text.loop_share", "text.seq_rep_4"].map((name) => rows.columns[name] || []);
    let best = null;
    rows.update.forEach((u, i) => {
      const here = [loops[i] ?? -1, repeated[i] ?? -1];
      if (u > 0 && (!best || here[0] > best.here[0] || (here[0] === best.here[0] && here[1] > best.here[1]))) best = { u, here };
    });
    if (best) App.state.set({ u: best.u });
  }

  function drawShade(state, run, one) {
    const kind = SHADES.some(([id]) => id === state.shade) ? state.shade : "";
    view.shade.value = kind;
    for (const option of view.shade.options) option.disabled = Boolean(option.value && one && shadeOf(run, one, option.value) && option.value !== kind);
    const whyNot = kind ? shadeOf(run, one, kind) : one && ["p", "h", "d"].every((id) => shadeOf(run, one, id)) ? shadeOf(run, one, "p") : "";
    App.clear(view.scale, whyNot ? `Shades: ${whyNot}.` : kind ? scale(kind) : "");
    view.scale.hidden = !whyNot && !kind;
  }

  function scale(kind) {
    const ends = { p: ["certain, p 0.9 or more", "p 0.002 or less"], h: ["0 nats", "6 nats or more"], d: ["20 times less likely than under the base model", "20 times more likely"] }[kind];
    const steps = kind === "d" ? Words.CHANGES : Words.STEPS;
    return [`${ends[0]} `, el("span", { "aria-hidden": "true" }, Array.from({ length: steps.length + 1 }, (_, i) => el("span", { class: `ex-swatch ex-${kind}${i}` }, " "))), ` ${ends[1]}`];
  }

  function step(direction) {
    const run = runOf(App.state.get("run"));
    const { updates } = run.samples;
    const now = Words.earlier(updates, App.state.get("u"));
    const next = updates[Math.max(0, Math.min(updates.length - 1, now + direction))];
    if (next === undefined || next === App.state.get("u")) return false;
    App.state.set({ u: next });
    return true;
  }

  function play() {
    if (view.timer) {
      halt();
      return;
    }
    const { updates } = runOf(App.state.get("run")).samples;
    if (updates.length && App.state.get("u") >= updates.at(-1)) App.state.set({ u: updates[0] });
    let expected = App.state.get("u");
    view.timer = setInterval(() => {
      if (App.state.get("u") !== expected || !step(1)) halt();
      expected = App.state.get("u");
    }, PLAY_MS);
    view.play.textContent = "❚❚ stop";
  }

  function halt() {
    clearInterval(view.timer);
    view.timer = 0;
    view.play.textContent = "▶ play";
  }

  function flip(mark) {
    const other = App.state.get("marks").filter((one) => one !== mark && one !== `no-${mark}`);
    const wanted = view.marks[mark].checked;
    const usual = mark !== "raw" && !(mark === "diff" && view.unlike);
    App.state.set({ marks: wanted === usual && mark !== "diff" ? other : [...other, wanted ? mark : `no-${mark}`] });
  }

  function jump(hit) {
    App.state.set({ run: hit.run, u: hit.update, text: hit.text || null });
    view.left.node.scrollIntoView({ block: "nearest" });
  }

  // --- the section -------------------------------------------------------------------------------

  function button(text, label, click) {
    return el("button", { type: "button", "aria-label": label, on: { click } }, text);
  }

  function select(id, change) {
    return el("select", { id, on: { change: (event) => change(event.target.value) } });
  }

  function build() {
    view.strip = Strip.create((u) => App.state.set({ u }));
    view.left = Pane.create("left", "Left sample", (text) => App.state.set({ text: text || null }));
    view.right = Pane.create("right", "Right sample", (text) => {
      view.second = text;
      ask();
    });
    view.search = SampleSearch.create(jump, () => view.strip.hits(view.search.countsOf(runOf(App.state.get("run")).id)));
    view.run = select("ex-run", (run) => App.state.set({ run }));
    view.with = select("ex-with", (run) => App.state.set({ with: run || null, diff: null, wu: null }));
    view.mode = select("ex-mode", (mode) => App.state.set({ diff: mode, wu: mode === "at" ? Number(view.at.value) : null }));
    view.at = el("input", { type: "number", min: 0, step: 1, id: "ex-at", "aria-label": "Update on the right", on: { input: () => view.at.value !== "" && App.state.set({ diff: "at", wu: Number(view.at.value) }) } });
    view.shade = select("ex-shade", (shade) => App.state.set({ shade: shade || null }));
    App.clear(view.shade, SHADES.map(([id, text]) => el("option", { value: id }, text)));
    view.marks = Object.fromEntries(MARKS.map(([mark]) => [mark, el("input", { type: "checkbox", id: `ex-mark-${mark}`, on: { change: () => flip(mark) } })]));
    view.previous = button("◀", "Sample before", () => step(-1));
    view.next = button("▶", "Next sample", () => step(1));
    view.play = el("button", { type: "button", on: { click: play } }, "▶ play");
    view.jumps = el("div", { class: "ex-jumps", role: "group", "aria-label": "Go to" });
    view.scale = el("p", { class: "ex-scale" });
    view.told = el("output", { for: "ex-slider", class: "ex-told" });
    view.there = el("span", { class: "ex-faint" });
    view.runLabel = el("label", { for: "ex-run" }, "run ", view.run);
    view.withLabel = el("label", { for: "ex-with" }, "of ", view.with);
  }

  function lay(div) {
    const options = MARKS.map(([mark, text, title]) => el("label", { class: "ex-check", title, for: `ex-mark-${mark}` }, view.marks[mark], ` ${text}`));
    view.right.controls(el("div", { class: "ex-row ex-beside" }, el("label", { for: "ex-mode" }, "beside it ", view.mode), view.at, view.withLabel));
    view.left.controls(el("div", { class: "ex-row ex-beside" }, view.runLabel, view.previous, view.play, view.next));
    App.clear(
      div,
      el("div", { class: "ex" },
        el("div", { class: "ex-row ex-spread" }, view.told, view.there),
        view.strip.node,
        view.jumps,
        el("div", { class: "ex-row ex-options" },
          el("label", { for: "ex-shade" }, "shade by ", view.shade),
          el("fieldset", { class: "ex-marks" }, el("legend", { class: "ex-label" }, "mark"), options),
        ),
        view.scale,
        el("div", { class: "ex-panes" }, view.left.node, view.right.node),
        view.search.node,
      ),
    );
  }

  App.register("samples", {
    mount(div, page) {
      view.page = page;
      if (!page.runs.length) {
        App.clear(div, el("p", {}, "There is no run whose samples could be shown."));
        return;
      }
      build();
      lay(div);
    },

    update(state, changed) {
      if (!view.page.runs.length || !KEYS.some((key) => changed.has(key))) return;
      if (changed.has("run") || changed.has("u")) view.second = changed.has("run") ? null : view.second;
      view.search.update(state, view.page);
      ask();
    },

    refresh(page, runs) {
      const had = view.page.runs.length;
      view.page = page;
      for (const id of runs) view.areas.delete(id);
      if (!had !== !page.runs.length) {
        this.mount(view.left?.node.closest("[data-app]") || document.querySelector('[data-app="samples"]'), page);
      }
      if (page.runs.length) ask();
    },
  });
})();
