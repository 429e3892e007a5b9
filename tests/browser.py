"""Debian's Chromium on pages of a disk: what it asks for, what it complains about."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("COLLAPSE_LM_CHROMIUM") or shutil.which("chromium")
AXE = Path(__file__).parents[1] / ".venv" / "axe" / "axe.min.js"
SHOTS = os.environ.get("COLLAPSE_LM_SCREENSHOTS")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOCAL = ("file:", "data:", "blob:")


@contextmanager
def chromium():
    """A browser, or a skipped test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    if CHROMIUM is None:
        pytest.skip("needs chromium (make browser)")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


class Tab:
    """A page that is watched.

    Attributes:
        page: of playwright.
        asked: addresses that it asked for.
        complaints: errors on its console, and exceptions.
    """

    def __init__(self, page):
        self.page, self.asked, self.complaints = page, [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        page.on("console", self._heard)

    def _heard(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, path, state=""):
        """Load a page of the disk, and wait until its scripts have begun."""
        self.page.goto(path.as_uri() + (f"#{state}" if state else ""))
        self.page.wait_for_selector("html.js")
        return self.page

    def all_sections(self):
        """Bring every section to the screen, so that it is made."""
        for name in self.sections():
            self.page.locator(f"#{name}").scroll_into_view_if_needed()
            self.page.wait_for_selector(f"#{name} [data-app] > *", state="attached")
            self.settle()
        return self.page

    def sections(self):
        found = (
            "[...document.querySelectorAll('main section')].filter(s => !s.hidden).map(s => s.id)"
        )
        return self.page.evaluate(found)

    def settle(self, times=3):
        """Let the page draw."""
        frame = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 10)))"
        for _ in range(times):
            self.page.evaluate(frame)

    def shot(self, name, **options):
        """Keep a picture, where somebody wants them."""
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), **options)

    def too_wide(self):
        """What sticks out to the right of the window, outside a box that scrolls by itself."""
        return self.page.evaluate(
            """() => {
              const width = document.documentElement.clientWidth;
              if (document.documentElement.scrollWidth <= width) return [];
              return [...document.querySelectorAll('body *')]
                .filter(node => node.getBoundingClientRect().right > width + 1)
                .map(node => `${node.tagName}.${node.className}`).slice(0, 10);
            }"""
        )

    def violations(self):
        """Serious and critical findings of axe-core, one line each."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate(
            "() => axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)"
        )
        return [
            f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"][:5]
        ]
