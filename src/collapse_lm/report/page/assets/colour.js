// App.colour: Okabe and Ito's colours, adjusted so that each has a contrast of 3:1 at least on its ground.
// Runs that differ in nothing but the seed share a colour; dashes tell apart what shares a colour otherwise.
"use strict";

(() => {
  const LIGHT = ["#0072b2", "#d55e00", "#008f68", "#b8558f", "#a87400", "#2b8cc4", "#3a3a3a"];
  const DARK = ["#4fa8e0", "#f0803c", "#2fc49a", "#dd8fbb", "#e6b02e", "#9bd3f3", "#e4e4e4"];
  const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

  App.isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : App.prefersDark();
  };

  const palette = () => (App.isDark() ? DARK : LIGHT);

  // Which colour and dash a run has: that of its group, or its own where the page has one group only.
  function place(index) {
    const page = App.source.page();
    if (page.groups.length < 2) return index;
    const group = page.groups.findIndex((one) => one.id === page.runs[index].group);
    return group < 0 ? index : group;
  }

  // colour(i): of run i (its position in page.runs), as "#rrggbb", for the theme of now.
  App.colour = (index) => palette()[place(index) % LIGHT.length];
  App.dash = (index) => DASHES[Math.floor(place(index) / LIGHT.length) % DASHES.length];
  App.groupColour = (index) => palette()[index % LIGHT.length];
  App.groupDash = (index) => DASHES[Math.floor(index / LIGHT.length) % DASHES.length];
  App.lineColour = App.groupColour; // line i of a figure with one line per name
  App.lineDash = (index) => DASHES[index % DASHES.length];
})();
