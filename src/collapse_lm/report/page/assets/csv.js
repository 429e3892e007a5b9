// Tables as CSV, and their download. What a spreadsheet would take for a formula is kept text.
"use strict";

const Csv = (() => {
  function cell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
    let text = String(value);
    if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  // header: names; rows: arrays of as many values. RFC 4180: lines end in CR LF.
  function format(header, rows) {
    return [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  // A name that any file system takes.
  function fileName(title) {
    const name = title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);
    return `${name || "table"}.csv`;
  }

  function download(title, header, rows) {
    const url = URL.createObjectURL(new Blob([format(header, rows)], { type: "text/csv;charset=utf-8" }));
    const anchor = App.el("a", { href: url, download: fileName(title) });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  return { format, cell, fileName, download };
})();

if (typeof module !== "undefined") module.exports = Csv;
