"""The view in a browser: it moves while a run goes on, and nothing in a record executes."""

import time

import pytest
from browser import AXE, Tab, chromium
from run_dirs import HOSTILE, write_run
from viewing import viewing

from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import Row
from collapse_lm.rundir.rows import row_line, sample_line

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
    with chromium() as found:
        yield found


@pytest.fixture
def tab(browser):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield Tab(context.new_page())
    context.close()


def wait(tab, expression, argument=None, seconds=15):
    """Until something is true in the page (whose policy refuses the way of playwright itself)."""
    limit = time.monotonic() + seconds
    while not tab.page.evaluate(expression, argument):
        assert time.monotonic() < limit, f"not in time: {expression}"
        tab.page.wait_for_timeout(50)


def complaints(tab):
    """What went wrong in the page, but that the server has gone at the end of a test."""
    return [told for told in tab.complaints if "ERR_" not in told and "net::" not in told]


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
        tab.page.goto(f"{view.url}at/one/#u=2&view=samples")
        wait(tab, "document.body.textContent.includes('some text 2')")
        tab.page.evaluate("window.same = 1")
        for update in range(4, 8):
            append(run, update, text=f"told later {update}")
        wait(tab, "App.source.page().runs[0].updates === 7")
        wait(tab, "document.body.textContent.includes('some text 2')")
        assert "u=2" in tab.page.url
        assert tab.page.evaluate("window.same") == 1
        tab.page.evaluate("App.state.set({u: 7})")
        wait(tab, "document.body.textContent.includes('told later 7')")
        assert all(url.startswith((view.url, "blob:", "data:")) for url in tab.asked)
    assert complaints(tab) == []


def test_the_list_follows_the_folder(tab, tmp_path):
    run = going_on(tmp_path / "one")
    with viewing(tmp_path) as view:
        tab.page.goto(view.url)
        wait(tab, "document.getElementById('live-told').textContent.startsWith('live')")
        tab.page.get_by_role("link", name="one").focus()
        append(run, 4)
        wait(tab, "document.querySelector('main').textContent.includes('4 of 60')")
        assert tab.page.evaluate("document.activeElement.textContent") == "one"
        write_run(tmp_path / "two <b>", seed=1)
        tab.page.get_by_role("link", name="two <b>").click()
        tab.page.wait_for_selector("h1")
        assert "two" in tab.page.url
        tab.page.get_by_role("link", name="All runs").click()
        tab.page.wait_for_selector(".runs-of-folder")
    assert complaints(tab) == []


def test_the_page_goes_on_when_the_server_comes_back(tab, tmp_path):
    run = going_on(tmp_path / "one")
    with viewing(tmp_path) as view:
        tab.page.goto(f"{view.url}at/one/")
        wait(tab, "App.source.page() !== null")
        tab.page.evaluate("window.same = 1")
        tab.page.context.set_offline(True)
        append(run, 4)
        time.sleep(0.5)
        tab.page.context.set_offline(False)
        append(run, 5)
        wait(tab, "App.source.page().runs[0].updates === 5", seconds=20)
        assert tab.page.evaluate("window.same") == 1


@pytest.mark.parametrize("where", ["", "at/", "at/{name}/"])
def test_hostile_texts_and_names_are_shown_and_nothing_executes(where, tab, tmp_path):
    name = "<img src=x onerror=alert(1)> & {{ 7 * 7 }}"
    run = going_on(tmp_path / name, text=HOSTILE)
    for update, text in enumerate(SAMPLES, 4):
        append(run, update, text)
    with viewing(tmp_path) as view:
        from collapse_lm.view.index import link

        tab.page.goto(view.url + where.replace("at/{name}/", link(name)))
        tab.page.wait_for_selector("h1")
        if where:
            for update, text in enumerate(SAMPLES, 4):
                tab.page.evaluate("u => App.state.set({u, view: 'samples'})", update)
                shown = text.replace("\x1b", "")[:20].strip()
                wait(
                    tab,
                    "text => document.getElementById('samples').textContent.includes(text)",
                    shown if "\x1b" not in text else "31mred",
                )
        assert tab.page.evaluate("window.hacked") is None
        for width in (1400, 390):
            tab.page.set_viewport_size({"width": width, "height": 800})
            tab.settle()
            assert tab.too_wide() == []
    assert complaints(tab) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("where", ["", "at/"])
def test_the_view_fits_every_screen_and_everybody_can_use_it(where, scheme, browser, tmp_path):
    root = tmp_path / "runs"
    for seed in range(3):
        name = f"learning_rate=1e-05-seed{seed}-1a2b3c4d"
        write_run(root / "rates" / "runs" / name, seed=seed, collapse=5 + seed)
    (root / "rates" / "sweep.yaml").write_text("base: quickstart\n")
    going_on(root / ("a-long-name-" * 8))
    context = browser.new_context(color_scheme=scheme)
    tab = Tab(context.new_page())
    with viewing(root) as view:
        for width in (1400, 390):
            tab.page.set_viewport_size({"width": width, "height": 900})
            tab.page.goto(view.url + where)
            tab.settle()
            assert tab.too_wide() == []
            tab.shot(f"view-{where.strip('/') or 'list'}-{scheme}-{width}", full_page=True)
            if AXE.exists():
                assert tab.violations() == []
    context.close()
    assert complaints(tab) == []
