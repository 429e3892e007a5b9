// The list of runs follows the folder: at each change the server's own list takes the place of this one.
"use strict";

(() => {
  const told = document.getElementById("live-told");
  let busy = false;
  let again = false;

  // Where the keyboard was: the same link of the new list, if it is there.
  function focused() {
    return document.activeElement?.getAttribute?.("href") ?? null;
  }

  async function refresh() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const href = focused();
      for (const selector of ["main", ".headline"]) {
        document.querySelector(selector).replaceWith(document.adoptNode(next.querySelector(selector)));
      }
      if (href) [...document.querySelectorAll("main a")].find((a) => a.getAttribute("href") === href)?.focus({ preventScroll: true });
    } catch {
      told.textContent = "connecting …";
    }
    busy = false;
    if (again) {
      again = false;
      refresh();
    }
  }

  function listen(lost = false) {
    const events = new EventSource("/events");
    events.addEventListener("changed", refresh);
    events.addEventListener("open", () => {
      told.textContent = "live: this list follows the folder";
      if (lost) refresh();
      lost = false;
    });
    events.addEventListener("error", () => {
      lost = true;
      told.textContent = "connecting …";
      if (events.readyState === EventSource.CLOSED) setTimeout(() => listen(true), 3000);
    });
  }

  listen();
})();
