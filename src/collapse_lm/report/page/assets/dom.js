// App: the one global. Elements from text only; whatever a run wrote stays text.
"use strict";

const App = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  // `on: {click: f}` adds listeners, `dataset: {a: 1}` data attributes, `prop: {value: 1}` properties;
  // false, null and undefined leave an attribute out, true sets it empty.
  function dress(node, attrs, children) {
    for (const [name, value] of Object.entries(attrs || {})) {
      if (name === "on") for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
      else if (name === "dataset") Object.assign(node.dataset, value);
      else if (name === "prop") Object.assign(node, value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  // el("button", {class: "x", on: {click: f}}, "text", otherNode): an HTML element.
  function el(tag, attrs, ...children) {
    return dress(document.createElement(tag), attrs, children);
  }

  // svg("path", {d: ...}): the same for SVG.
  function svg(tag, attrs, ...children) {
    return dress(document.createElementNS(SVG, tag), attrs, children);
  }

  function clear(node, ...children) {
    node.replaceChildren();
    return dress(node, null, children);
  }

  // The sections of the page: register("samples", {mount(div, page), update(state, changed), refresh(page, runs)}).
  // mount is called once, with the empty `<div data-app="samples">`; update after every change of state while
  // the section is near the screen (changed: Set of keys; all keys at the first call); refresh, where it
  // is given, when a live page has changed (else the section is mounted anew).
  const sections = new Map();
  function register(name, section) {
    sections.set(name, section);
  }

  // Politely told to screen readers; the last message wins.
  function say(text) {
    const region = document.getElementById("live-region");
    if (region) region.textContent = text;
  }

  // A number for readers: up to `digits` significant digits, a true minus, no trailing zeros.
  function number(value, digits = 4) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-4) {
      const [mantissa, power] = value.toExponential(digits - 1).split("e");
      return `${Number(mantissa)}e${Number(power)}`.replaceAll("-", "−");
    }
    const places = Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(size))));
    const text = value.toFixed(places);
    return (text.includes(".") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
  }

  function prefersDark() {
    return window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  return { el, svg, clear, register, sections, say, number, prefersDark };
})();
