"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const Words = require("../../src/collapse_lm/report/page/assets/words.js");

const cutOut = (text, ranges) => ranges.map(([start, end]) => text.slice(start, end));

test("a diff tells which words stand on one side only", () => {
  const [a, b] = ["The dog barks, and the cat sleeps.", "The dog sings, and a cat sleeps!"];
  const found = Words.diff(a, b);
  assert.deepEqual(cutOut(a, found.removed), ["barks", "the", "."]);
  assert.deepEqual(cutOut(b, found.added), ["sings", "a", "!"]);
  assert.deepEqual([found.left, found.right, found.same], [3, 3, 6]);
});

test("words that are parted by white space only are marked in one piece", () => {
  const found = Words.diff("one two  three four", "one four");
  assert.deepEqual(found.removed, [[4, 14]]);
  assert.deepEqual(found.added, []);
});

test("equal, empty and altogether different texts", () => {
  assert.deepEqual(Words.diff("a b", "a  b").removed, []);
  assert.deepEqual(Words.diff("", "a b").added, [[0, 3]]);
  assert.deepEqual(Words.diff("x y", "a b"), { removed: [[0, 3]], added: [[0, 3]], left: 2, right: 2, same: 0 });
});

test("a diff is a longest common subsequence", () => {
  const text = (length, seed) => Array.from({ length }, (_, i) => "abcd"[((i * i * seed + 7 * i + seed) >> 2) & 3]);
  for (let seed = 1; seed < 40; seed++) {
    const [a, b] = [text(12 + (seed % 5), seed), text(14, seed + 3)];
    const table = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    assert.equal(Words.diff(a.join(" "), b.join(" ")).same, table[0][0]);
  }
});

test("very long texts are compared in a moment, and words that both hold are found", () => {
  const words = Array.from({ length: 6000 }, (_, i) => `w${i}`);
  const other = words.map((word, i) => (i % 3 === 0 ? `x${i}` : word)).reverse().reverse();
  const start = performance.now();
  const found = Words.diff(words.join(" "), other.join(" "));
  assert.ok(performance.now() - start < 2000);
  assert.equal(found.same, 4000);
});

test("the loop is the one of the recorded measure", () => {
  const ids = [9, 8, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 7, 6, 5];
  assert.deepEqual(Words.findLoop(ids.map(String)), { period: 3, start: 2, length: 11, share: 11 / 16 });
  assert.equal(Words.findLoop(["a", "a", "b", "c"]), null); // a doubled word is no loop
  assert.equal(Words.findLoop([]), null);
  assert.deepEqual(Words.findLoop(["a", "a", "a", "a"]), { period: 1, start: 0, length: 4, share: 1 });
});

test("a loop is marked turn by turn, by tokens where their ends are known", () => {
  const text = "So it is. it is. it is. it is. no";
  const byWords = Words.loop(text, undefined);
  assert.deepEqual([byWords.period, byWords.unit], [3, "words"]);
  assert.deepEqual(cutOut(text, byWords.ranges), ["it is.", "it is.", "it is.", "it is."]);
  const letters = Words.loop("abababab", [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual([letters.period, letters.unit, letters.times], [2, "tokens", 4]);
  assert.equal(Words.loop("a quiet text without any", undefined), null);
});

test("repeated 4-grams of words are marked in one piece, whatever their case", () => {
  const text = "We will do it now. Then we will do it again.";
  const found = Words.repeats(text);
  assert.deepEqual(cutOut(text, found.ranges), ["We will do it", "we will do it"]);
  assert.deepEqual([found.different, found.share], [1, 8 / 11]);
  assert.deepEqual(Words.repeats("").ranges, []);
});

test("scripts without spaces count by character", () => {
  assert.deepEqual(Words.words("我们 good").map((word) => word.text), ["我", "们", "good"]);
});

test("levels of tokens are read back, the left-out sign and the unknown included", () => {
  const coded = Array.from({ length: 91 }, (_, level) => String.fromCharCode(35 + level + (35 + level >= 92 ? 1 : 0))).join("");
  assert.ok(!coded.includes("\\"));
  Words.levels(coded).forEach((nats, level) => assert.equal(nats, level / 10));
  assert.ok(Number.isNaN(Words.levels("!")[0]));
});

test("tokens are shaded by probability, entropy and the change from the base model", () => {
  const one = { text: "ab\u{1F600}", ends: [1, 2, 2, 4], p: "#A!}", h: "####", b: "A#A#" };
  assert.deepEqual(Words.shades(one, "p"), [[0, 1, "ex-p0", 0], [1, 2, "ex-p5", 1], [2, 4, "ex-p7", 3]]);
  assert.deepEqual(Words.shades(one, "d").map((range) => range[2]), ["ex-d6", "ex-d1", "ex-d0"]);
  assert.deepEqual(Words.shades(one, "").map((range) => range[2]), ["", "", ""]);
});

test("two probabilities at the last level are not compared, and of one there is a bound", () => {
  assert.deepEqual(Words.shades({ text: "ab", ends: [1, 2], p: "~~", b: "~#" }, "d").map((range) => range[2]), ["", "ex-d0"]);
  assert.equal(Words.changed(9, 9, Math.round), "");
  assert.equal(Words.changed(NaN, 1, Math.round), "");
  assert.equal(Words.changed(2, 2, Math.round), "as likely as under the base model");
  assert.equal(Words.changed(2, 9, Math.round), "at least 1097 times as likely as under the base model");
  assert.equal(Words.changed(9, 2, Math.round), "at least 1097 times as unlikely as under the base model");
  assert.equal(Words.changed(1, 3, Math.round), "7 times as likely as under the base model");
});

test("a text is cut at the borders of all layers, without gaps", () => {
  const pieces = Words.cut(10, [{ ranges: [[2, 6]], name: "a" }, { ranges: [[4, 8, "b"], [8, 10, "", 7]] }]);
  assert.deepEqual(
    pieces.map((piece) => [piece.start, piece.end, piece.classes.join("+"), piece.token]),
    [[0, 2, "", null], [2, 4, "a", null], [4, 6, "a+b", null], [6, 8, "b", null], [8, 10, "", 7]],
  );
});

test("hidden characters become signs", () => {
  assert.equal(Words.plain("\x1b[31mred\u202e\x07 a\u0085"), "␛[31mred⟦RLO⟧␇ a⟦U+0085⟧");
  assert.equal(Words.plain("a\nb\tc"), "a↵\nb␉c");
  assert.equal(Words.plain("plain 中 é"), "plain 中 é");
});

test("a search for text takes every sign as it is", () => {
  const { source, flags } = Words.pattern("a.b*(c)", false);
  assert.deepEqual(Words.hits(source, flags, ["xa.b*(C) aab"], 9), [[[1, 8]]]);
});

test("a search by pattern finds all, up to the limit, and no empty ones", () => {
  const { source, flags } = Words.pattern("\\d*", true);
  assert.deepEqual(Words.hits(source, flags, ["a12b3", "none"], 9), [[[1, 3], [4, 5]], []]);
  assert.deepEqual(Words.hits(source, flags, ["1 2 3"], 2), [[[0, 1], [2, 3]]]);
});

test("no pattern says why", () => {
  assert.match(Words.pattern("(a", true).error, /not a regular expression: .*[Uu]nterminated group/);
});

test("patterns that may take for ever are known", () => {
  for (const source of ["(a+)+$", "(a|aa)*b", "((a*)b)+", "(x+x+)+y", "(?:a+){2,}", "(a)\\1"]) assert.ok(Words.risky(source), source);
  for (const source of ["a+b*", "(a|b)c", "[a-z]+ing\\b", "(ab)+"]) assert.ok(!Words.risky(source), source);
});

test("a snippet shows the hit with its surroundings on one line", () => {
  const text = `${"x".repeat(60)} one\ntwo ${"y".repeat(60)}`;
  const found = Words.snippet(text, 61, 64, 10);
  assert.deepEqual(found, { before: `…${"x".repeat(9)} `, hit: "one", after: ` two ${"y".repeat(5)}…` });
});

test("the sample of an update without one is the nearest earlier one", () => {
  assert.deepEqual([0, 1, 2, 5, 9].map((u) => Words.earlier([1, 4, 8], u)), [-1, 0, 0, 1, 2]);
  assert.equal(Words.earlier([], 3), -1);
});
