"""The view in a browser: it moves while a run goes on, and nothing in a record executes."""

import shutil
import time

import pytest
from run_dirs import HOSTILE, write_run
from viewing import viewing

from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import Row
from collapse_lm.rundir.rows import row_line, sample_line

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

SAMPLES = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 2">',
    "</script><script>window.hacked = 3</script>",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "\x1b[31mred\x1b[0m \u202eabc\u202c",
    "unbroken" * 625,
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def tab(browser):
    """A page that notes what it asks for and what goes wrong in it."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    found = context.new_page()
    found.wrong, found.asked = [], []
    found.on("pageerror", lambda error: found.wrong.append(str(error)))
    found.on("console", lambda m: found.wrong.append(m.text) if m.type == "error" else None)
    found.on("request", lambda request: found.asked.append(request.url))
    yield found
    context.close()


def append(run, update, text="a new text"):
    values = {"train.loss": 1 / update, "text.loop_share": 0.1, "text.seq_rep_4": 0.2}
    values |= {"validation.loss[sotu]": 3 + update / 50}
    row = Row(update, values)
    batch = Batch((Text((0,), tuple(range(9)), "own", text),))
    for name, line in (("samples", sample_line(Record(row, batch))), ("updates", row_line(row))):
        with (run / f"{name}.jsonl").open("a") as file:
            file.write(line + "\n")


def going_on(folder, **options):
    return write_run(folder, updates=3, max_updates=60, status="interrupted", **options).path


def test_a_run_that_goes_on_moves_without_a_reload_and_keeps_where_one_is(tab, tmp_path):
    run = going_on(tmp_path / "one")
    with viewing(tmp_path) as view:
        tab.goto(f"{view.url}at/one/#u=2&view=samples")
        tab.wait_for_function("document.body.textContent.includes('some text 2')")
        tab.evaluate("window.same = 1")
        for update in range(4, 8):
            append(run, update, text=f"told later {update}")
        tab.wait_for_function("App.source.page().runs[0].updates === 7")
        tab.wait_for_function("document.body.textContent.includes('some text 2')")
        assert "u=2" in tab.url
        assert tab.evaluate("window.same") == 1
        tab.evaluate("App.state.set({u: 7})")
        tab.wait_for_function("document.body.textContent.includes('told later 7')")
        assert all(url.startswith((view.url, "blob:", "data:")) for url in tab.asked)
    wrong = [told for told in tab.wrong if "ERR_" not in told]  # the server has gone at the end
    assert wrong == []


def test_the_list_follows_the_folder(tab, tmp_path):
    run = going_on(tmp_path / "one")
    with viewing(tmp_path) as view:
        tab.goto(view.url)
        tab.wait_for_function("document.getElementById('live-told').textContent.startsWith('live')")
        tab.get_by_role("link", name="one").focus()
        append(run, 4)
        tab.wait_for_function("document.querySelector('main').textContent.includes('4 of 60')")
        assert tab.evaluate("document.activeElement.textContent") == "one"
        write_run(tmp_path / "two <b>", seed=1)
        tab.get_by_role("link", name="two <b>").click()
        tab.wait_for_selector("h1")
        assert "two" in tab.url
        tab.get_by_role("link", name="All runs").click()
        tab.wait_for_selector(".runs-of-folder")
    assert [told for told in tab.wrong if "ERR_" not in told] == []


def test_the_page_goes_on_when_the_server_comes_back(tab, tmp_path):
    run = going_on(tmp_path / "one")
    with viewing(tmp_path) as view:
        tab.goto(f"{view.url}at/one/")
        tab.wait_for_function("App.source.page() !== null")
        tab.evaluate("window.same = 1")
        tab.context.set_offline(True)
        append(run, 4)
        time.sleep(0.5)
        tab.context.set_offline(False)
        append(run, 5)
        tab.wait_for_function("App.source.page().runs[0].updates === 5", timeout=20_000)
        assert tab.evaluate("window.same") == 1


@pytest.mark.parametrize("where", ["", "at/", "at/{name}/"])
def test_hostile_texts_and_names_are_shown_and_nothing_executes(where, tab, tmp_path):
    name = "<img src=x onerror=alert(1)> & {{ 7 * 7 }}"
    run = going_on(tmp_path / name, text=HOSTILE)
    for update, text in enumerate(SAMPLES, 4):
        append(run, update, text)
    tab.on("dialog", lambda dialog: tab.wrong.append(f"dialog {dialog.message}"))
    with viewing(tmp_path) as view:
        from collapse_lm.view.index import link

        tab.goto(view.url + where.replace("at/{name}/", link(name)))
        tab.wait_for_selector("h1")
        if where:
            for update, text in enumerate(SAMPLES, 4):
                tab.evaluate("u => App.state.set({u, view: 'samples'})", update)
                shown = text.replace("\x1b", "")[:20].strip()
                tab.wait_for_function(
                    "text => document.getElementById('samples').textContent.includes(text)",
                    arg=shown if "\x1b" not in text else "31mred",
                )
        assert tab.evaluate("window.hacked") is None
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert tab.evaluate(wide)
        tab.set_viewport_size({"width": 390, "height": 800})
        assert tab.evaluate(wide)
    assert [told for told in tab.wrong if "ERR_" not in told] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_the_list_fits_every_screen(width, scheme, browser, tmp_path):
    for seed in range(3):
        write_run(
            tmp_path / "sweep" / "runs" / f"learning_rate=1e-05-seed{seed}-1a2b3c4d", seed=seed
        )
    (tmp_path / "sweep" / "sweep.yaml").write_text("base: quickstart\n")
    going_on(tmp_path / "a-long-name-" * 8)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    with viewing(tmp_path) as view:
        page.goto(view.url)
        page.wait_for_function("document.getElementById('live-told').textContent !== ''")
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert page.evaluate(wide)
        page.screenshot(path=tmp_path / "list.png", full_page=True)
        assert (tmp_path / "list.png").stat().st_size > 5000
    context.close()
