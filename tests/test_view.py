"""The view of a folder: what it shows, what it refuses, how it follows, what it costs."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from run_dirs import HOSTILE, write_run
from viewing import until, viewing

from collapse_lm.errors import UserError
from collapse_lm.measures.names import Row
from collapse_lm.rundir.rows import row_line
from collapse_lm.view.budget import Budget
from collapse_lm.view.folder import OUTSIDE, Folder
from collapse_lm.view.guard import host_names, is_for_us
from collapse_lm.view.index import link, render_index
from collapse_lm.view.serve import bind
from collapse_lm.view.site import write_site

from commands import call

ODD = "a <script>%2e%2e & 'é' #?"  # a name of a run


def folder_of_runs(root):
    for rate in (1e-5, 3e-5):
        for seed in (0, 1):
            place = root / "rates" / "runs" / f"rate={rate}-seed{seed}"
            write_run(place, rate=rate, seed=seed, collapse=9 if rate > 2e-5 else None)
    (root / "rates" / "sweep.yaml").write_text("base: quickstart\n")
    write_run(root / ODD, collapse=5, text=HOSTILE)
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return folder_of_runs(tmp_path_factory.mktemp("view") / "runs")


@pytest.fixture(scope="module")
def view(runs):
    with viewing(runs) as found:
        yield found


def append(run, update, **values):
    """A row more, as a run that goes on writes it."""
    row = Row(update, {"train.loss": 1.0, "text.loop_share": 0.0, "text.seq_rep_4": 0.0} | values)
    with (run / "updates.jsonl").open("a") as file:
        file.write(row_line(row) + "\n")


# --- what it shows -----------------------------------------------------------------------------


def test_the_list_has_every_sweep_and_run_and_links_that_work(view):
    status, headers, body = view.ask("/")
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "5 runs: 5 finished" in text
    assert "a &lt;script&gt;%2e%2e &amp; &#39;é&#39; #?" in text
    assert "<script>%2e" not in text
    links = [part.partition('"')[0] for part in text.split('href="')[1:]]
    links = [found for found in links if found.startswith("at/")]
    assert len(links) == 7  # the folder, the sweep, five runs
    assert {view.ask(f"/{found}")[0] for found in links} == {200}


def test_a_page_comes_with_its_data_beside_it(view):
    page = view.page("rates/")
    assert (page["format"], page["kind"], page["live"]) == (1, "sweep", True)
    assert len(page["runs"]) == 4
    status, headers, body = view.ask("/at/rates/block/rows-r0", Accept_Encoding="gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    rows = json.loads(gzip.decompress(body))
    assert rows["update"][0] == 0
    assert json.loads(view.ask("/at/rates/block/rows-r0")[2]) == rows
    ((block, _, _),) = page["runs"][0]["samples"]["blocks"]
    assert json.loads(view.ask(f"/at/rates/block/{block}")[2])["samples"]


def test_a_page_says_what_it_says_without_scripts_and_asks_for_ours_only(view):
    status, _, body = view.ask(f"/{link(ODD)}")
    text = body.decode()
    assert status == 200
    assert "Collapsed at update 5" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    sources = [part.partition('"')[0] for part in text.split('src="')[1:]]
    assert sources
    assert all(view.ask(source)[0] == 200 for source in sources)
    assert view.ask("/assets/page.css")[1]["content-type"].startswith("text/css")


def test_a_name_without_its_slash_leads_to_the_page(view):
    status, headers, _ = view.ask("/at/rates")
    assert (status, headers["location"]) == (308, "/at/rates/")


def test_head_has_the_headers_and_no_body(view):
    for path in ("/", "/at/", "/at/page.json", "/at/events", "/events"):
        status, _, body = view.ask(path, "HEAD")
        assert (status, body) == (200, b"")


def test_every_answer_carries_the_headers_that_keep_others_out(view):
    for path in ("/", "/at/", "/at/page.json", "/at/block/rows-r0", "/assets/index.js", "/nothing"):
        headers = {name.lower(): value for name, value in view.ask(path)[1].items()}
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "connect-src 'self'; img-src 'self' data:" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


# --- what it refuses ---------------------------------------------------------------------------

WAYS_OUT = [
    "/../secret.txt",
    "/at/../../secret.txt",
    "/at/..%2f..%2fsecret.txt",
    "/at/%2e%2e/%2e%2e/secret.txt",
    "/at/%2e%2e%2f%2e%2e%2fsecret.txt",
    "/at/..%252f..%252fsecret.txt",
    "/at/%252e%252e/secret.txt",
    "/at/..%5c..%5csecret.txt",
    "/at/..\\..\\secret.txt",
    "/at/....//....//secret.txt",
    "/at/%c0%ae%c0%ae/secret.txt",
    "/at//etc/passwd",
    "/at/%2fetc%2fpasswd",
    "/at/rates/../../secret.txt",
    "/at/rates/%00/page.json",
    "/at/rates/sweep.yaml",
    "/at/rates/runs/",
    "/at/block/../../page.json",
    "/at/block/..%2f..%2fsecret.txt",
    "/assets/../../secret.txt",
    "/assets/..%2findex.html.j2",
    "/assets/ORDER",
    "//secret.txt",
    "/at/./page.json",
    "/./at/",
    "http://elsewhere.example/secret.txt",
]


@pytest.mark.parametrize("path", WAYS_OUT)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_address_leads_out_of_the_folder(path, method, view, runs):
    (runs.parent / "secret.txt").write_text("a secret")
    status, _, body = view.ask(path, method)
    assert 400 <= status < 500
    assert b"secret" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_nothing_but_get_and_head_is_answered(method, view):
    for path in ("/", "/at/page.json", "/nothing"):
        status, headers, _ = view.ask(path, method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["evil.example"],
        ["evil.example:{port}"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["localhost:{port}.evil.example"],
        ["127.0.0.1.evil.example:{port}"],
        ["127.0.0.1:{port}", "evil.example"],
        ["10.0.0.1:{port}"],
        ["0.0.0.0:{port}"],
    ],
)
def test_a_request_for_another_host_is_refused(hosts, view):
    status, _, body = view.ask("/at/page.json", host=[h.format(port=view.port) for h in hosts])
    assert 400 <= status < 500
    assert b"train.loss" not in body


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}"])
def test_this_machine_by_any_of_its_names_is_answered(host, view):
    assert view.ask("/at/page.json", host=[host.format(port=view.port)])[0] == 200


def test_a_server_for_every_address_answers_to_addresses_and_to_no_name():
    names = host_names("0.0.0.0", 80)
    known = {"names": names, "everywhere": True, "port": 80}
    assert is_for_us("127.0.0.1", **known)
    assert is_for_us("10.1.2.3:80", **known)
    assert is_for_us("[fe80::1]:80", **known)
    assert not is_for_us("10.1.2.3:81", **known)
    assert not is_for_us("evil.example:80", **known)
    assert "mine.example:7575" in host_names("mine.example", 7575)


@pytest.mark.parametrize("name", ["updates.jsonl", "samples.jsonl", "manifest.json", "config.yaml"])
def test_a_link_that_leads_out_of_the_folder_is_not_read(name, tmp_path):
    outside = write_run(tmp_path / "outside", collapse=5, text="a secret").path
    root = tmp_path / "runs"
    write_run(root / "good", collapse=5)
    write_run(root / "bad", collapse=5)
    (root / "bad" / name).unlink()
    (root / "bad" / name).symlink_to(outside / name)
    (root / "whole").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    with viewing(root) as view:
        assert {view.ask(f"/at/{p}")[0] for p in ("bad/", "whole/", "up/", "up/outside/")} == {404}
        assert view.ask("/at/bad/events")[0] == view.ask("/at/bad/block/rows-r0")[0] == 404
        page = view.page()
        assert [run["name"] for run in page["runs"]] == ["good"]
        assert page["left_out"] == [{"run": "bad", "reason": OUTSIDE}]
        shown = view.ask("/")[2] + view.ask("/at/")[2]
        assert b"secret" not in shown
        assert OUTSIDE.encode() in shown


def test_a_link_within_the_folder_is_followed(tmp_path):
    write_run(tmp_path / "runs" / "one", collapse=5)
    rows = tmp_path / "runs" / "one" / "updates.jsonl"
    rows.rename(tmp_path / "runs" / "rows")
    rows.symlink_to("../rows")
    folder = Folder(tmp_path / "runs")
    folder.look()
    assert folder.refusal(folder.path / "one") == ""


def test_a_sweep_whose_claims_are_a_link_out_of_the_folder_has_no_page(tmp_path):
    root = folder_of_runs(tmp_path / "runs")
    (tmp_path / "claims.json").write_text("[]")
    (root / "rates" / "claims.json").symlink_to(tmp_path / "claims.json")
    with viewing(root) as view:
        assert view.ask("/at/rates/")[0] == 404
        assert view.ask("/at/")[0] == 200


# --- how it follows ----------------------------------------------------------------------------


def test_a_run_that_goes_on_is_told_to_who_listens(tmp_path):
    run = write_run(tmp_path / "one", updates=3, max_updates=30, status="interrupted").path
    write_run(tmp_path / "other", seed=1)
    with viewing(tmp_path) as view:
        ids = {entry["name"]: entry["id"] for entry in view.page()["runs"]}
        with view.listening() as got, view.listening("/events") as listed:
            until(lambda: view.hub.clients == 2)
            append(run, 4)
            until(lambda: got and listed)
            assert got[0] == {"runs": [ids["one"]]}
            entries = {entry["name"]: entry for entry in view.page()["runs"]}
            assert (entries["one"]["updates"], entries["other"]["updates"]) == (4, 30)
            rows = json.loads(view.ask(f"/at/block/rows-{ids['one']}")[2])
            assert rows["update"] == [0, 1, 2, 3, 4]
        assert b"4 of 30" in view.ask("/")[2]


def test_the_bar_of_a_run_that_has_finished_is_full(tmp_path):
    write_run(tmp_path / "done", updates=9, max_updates=30)
    write_run(tmp_path / "open", updates=9, max_updates=30, status="interrupted")
    with viewing(tmp_path) as view:
        shown = view.ask("/")[2].decode()
    assert '<progress max="30" value="30" aria-label="updates of done">' in shown
    assert "9 of at most 30" in shown
    assert '<progress max="30" value="9" aria-label="updates of open">' in shown


def test_a_run_that_begins_or_goes_or_loses_its_process_is_told_too(tmp_path):
    write_run(tmp_path / "first")
    with viewing(tmp_path) as view:
        first = view.page()["runs"][0]["id"]
        with view.listening() as got:
            until(lambda: view.hub.clients == 1)
            write_run(tmp_path / "a second", seed=1)
            until(lambda: any(event["runs"] for event in got))
            ids = {entry["name"]: entry["id"] for entry in view.page()["runs"]}
            assert ids["first"] == first  # a run keeps its id
            assert len(ids) == 2
            count = len(got)
            shutil.rmtree(tmp_path / "first")
            until(lambda: len(got) > count)
            assert [entry["name"] for entry in view.page()["runs"]] == ["a second"]


def test_a_look_that_fails_is_not_the_last(tmp_path, monkeypatch):
    run = write_run(tmp_path / "one", updates=3, max_updates=30, status="interrupted").path
    with viewing(tmp_path) as view:
        view.page()
        failed = []

        def look():
            monkeypatch.undo()
            failed.append(True)
            raise RuntimeError("not now")

        with view.listening() as got:
            until(lambda: view.hub.clients == 1)
            monkeypatch.setattr(view.hub.folder, "look", look)
            until(lambda: failed)
            append(run, 4)
            until(lambda: got)


def test_what_changed_before_a_client_connected_is_told_to_it(tmp_path):
    run = write_run(tmp_path / "one", updates=3, max_updates=30, status="interrupted").path
    with viewing(tmp_path) as view:
        view.page()
        append(run, 4)
        with view.listening() as got:
            until(lambda: got)
            assert got[0] == {"runs": ["r0"]}


def test_a_row_that_is_half_written_is_not_shown(tmp_path):
    run = write_run(tmp_path / "one", updates=3, max_updates=30, status="interrupted").path
    with viewing(tmp_path) as view:
        view.page()
        with (run / "updates.jsonl").open("a") as file:
            file.write('{"update": 4, "train.lo')
        time.sleep(0.3)
        assert view.page()["runs"][0]["updates"] == 3
        with (run / "updates.jsonl").open("a") as file:
            file.write('ss": 1.5}\n')
        time.sleep(0.3)
        assert view.page()["runs"][0]["updates"] == 4


def test_clients_that_vanish_are_forgotten_and_too_many_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("collapse_lm.view.app.MOST_CLIENTS", 3)
    write_run(tmp_path / "one")
    with viewing(tmp_path) as view:
        view.page()
        with view.listening(), view.listening(), view.listening("/events"):
            until(lambda: view.hub.clients == 3)
            assert view.ask("/at/events")[0] == 503
        until(lambda: view.hub.clients == 0)


def test_a_client_that_reads_nothing_holds_one_message(tmp_path):
    run = write_run(tmp_path / "one", updates=3, max_updates=90, status="interrupted").path
    with viewing(tmp_path, period=0.02, budget=Budget(share=10)) as view:
        view.page()
        with socket.create_connection(("127.0.0.1", view.port)) as silent:
            silent.sendall(f"GET /at/events HTTP/1.1\r\nHost: {view.url[7:-1]}\r\n\r\n".encode())
            until(lambda: view.hub.clients == 1)
            for update in range(4, 24):
                append(run, update)
                time.sleep(0.03)
            (entry,) = view.hub._entries.values()
            (client,) = entry.clients
            assert client._changed <= {"r0"}
        until(lambda: view.hub.clients == 0)


def test_a_folder_that_is_removed_and_runs_that_are_damaged_do_not_end_the_view(tmp_path):
    root = folder_of_runs(tmp_path / "runs")
    with viewing(root) as view, view.listening():
        view.page()
        (root / ODD / "updates.jsonl").write_text("{]\n")
        (root / "rates" / "runs" / "rate=1e-05-seed0" / "manifest.json").write_text("[]")
        time.sleep(0.3)
        assert view.ask("/")[0] == view.ask("/at/")[0] == 200
        assert b"damaged" in view.ask("/")[2]
        shutil.rmtree(root)
        time.sleep(0.3)
        assert view.ask("/")[0] == 200
        assert view.ask("/at/rates/")[0] == 404


# --- what it costs -----------------------------------------------------------------------------


def test_five_clients_lose_nothing_and_cost_the_run_under_two_percent(tmp_path):
    """The server is a process of its own here, whose processor time the system tells."""
    run = write_run(tmp_path / "one", updates=3, max_updates=900, status="interrupted").path
    write_run(tmp_path / "other", seed=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "collapse_lm", "view", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
            share, seen = _cost_of_five(process.pid, port, run)
        finally:
            process.terminate()
    assert seen == [23] * 5
    print(f"{share:.2%} of a core")
    assert share < 0.02


def _cost_of_five(pid, port, run, seconds=8):
    """(share of a core that a server took, the update that each of five clients saw last)."""
    from viewing import Viewing

    view, seen = Viewing(None, port), [0] * 5
    view.page()  # read for the first time, which somebody waits for
    stop = threading.Event()

    def client(number):
        with view.listening() as got:
            taken = 0
            while not stop.is_set():
                if len(got) > taken:
                    taken = len(got)
                    page = view.page()
                    for place in got[-1]["runs"]:
                        view.ask(f"/at/block/rows-{place}")
                    seen[number] = max(entry["updates"] for entry in page["runs"][:1])
                stop.wait(0.05)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    before = _cpu(pid)
    for update in range(4, 24):
        append(run, update)
        time.sleep(seconds / 20)
    used = _cpu(pid) - before
    limit = time.monotonic() + 10
    while seen != [23] * 5 and time.monotonic() < limit:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    return used / seconds, seen


def _cpu(pid):
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def test_the_budget_waits_for_as_long_as_its_share_takes():
    budget = Budget(share=0.01, longest=60)
    budget.spend(0.1, 1)
    assert budget.wait == pytest.approx(9)
    budget.spend(0, 5)
    assert budget.wait == pytest.approx(4)
    budget.spend(0, 100)
    assert budget.wait == 0
    budget.spend(50, 1)
    assert budget.wait == pytest.approx(60)
    budget.forgive(50)
    assert budget.wait == 0


def test_a_look_at_runs_that_did_not_change_reads_none(tmp_path, monkeypatch):
    folder = Folder(folder_of_runs(tmp_path / "runs"))
    assert len(folder.look()) == 5
    monkeypatch.setattr("collapse_lm.view.folder.glance_at", None)  # a call would fail
    assert folder.look() == set()


# --- the command -------------------------------------------------------------------------------


def test_what_is_wrong_is_told_with_what_helps(runs, tmp_path):
    done = call("view", tmp_path / "nothing")
    assert (done.returncode, "no folder" in done.stderr) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call("view", runs, "--port", port)
    assert done.returncode == 2
    assert f"{port}, which is taken" in done.stderr
    assert f"--port {port + 1}" in done.stderr
    with pytest.raises(UserError, match="an address of this machine"):
        bind("192.0.2.1", 0)
    with pytest.raises(UserError, match="an address of this machine"):
        bind("..", 0)


def test_ctrl_c_ends_a_view_at_once_although_somebody_listens(runs):
    words = [sys.executable, "-m", "collapse_lm", "view", str(runs), "--port", "0"]
    asked = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job of a shell ignores it
    with subprocess.Popen(words, stdout=-1, stderr=-1, text=True, preexec_fn=asked) as process:
        port = int(process.stdout.readline().split(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as listener:
            listener.sendall(f"GET /events HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            assert listener.recv(100).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 3
        assert (process.returncode, out, err) == (130, "", "")


def test_without_the_extra_its_command_is_told(runs, tmp_path, monkeypatch):
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'uvicorn' else real(name, *a)\n"
    )
    done = call("view", runs, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install 'collapse-lm[view]'" in done.stderr
    assert "no uvicorn" in done.stderr


# --- as files ----------------------------------------------------------------------------------


def test_the_same_pages_are_written_as_files_that_hold_everything(runs, tmp_path):
    folder = Folder(runs)
    folder.look()
    assert write_site(folder, tmp_path / "site") == 7
    text = (tmp_path / "site" / "index.html").read_text()
    assert "<script" not in text
    links = [part.partition('"')[0] for part in text.split('href="')[1:]]
    from urllib.parse import unquote

    pages = [tmp_path / "site" / unquote(found) for found in links if found.startswith("at/")]
    assert len(pages) == 7
    for page in pages:
        content = page.read_text()
        assert 'id="page"' in content
        assert "src=" not in content.partition("<script")[0]
    assert str(tmp_path) not in text
    assert write_site(folder, tmp_path / "site") == 7  # a site of ours is written anew


def test_a_site_is_not_written_over_anything_else(runs, tmp_path):
    folder = Folder(runs)
    folder.look()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("<h1>precious</h1>")
    with pytest.raises(UserError, match="a folder of something else"):
        write_site(folder, tmp_path / "mine")
    with pytest.raises(UserError, match="a file"):
        write_site(folder, tmp_path / "mine" / "index.html")
    (tmp_path / "none").mkdir()
    empty = Folder(tmp_path / "none")
    empty.look()
    with pytest.raises(UserError, match="no run"):
        write_site(empty, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_run_that_is_removed_while_the_list_is_written_is_named_so(tmp_path):
    write_run(tmp_path / "one")
    folder = Folder(tmp_path)
    folder.look()
    before = folder.places
    shutil.rmtree(tmp_path / "one")
    folder.look()
    folder.places = before
    assert "removed" in render_index(folder)


def test_the_list_of_an_empty_folder_says_so(tmp_path):
    folder = Folder(tmp_path)
    folder.look()
    assert "No run lies in this folder yet" in render_index(folder)


@pytest.mark.skipif(os.name != "posix", reason="names of bytes that are no text")
def test_a_name_of_bytes_that_are_no_text_has_a_page(tmp_path):
    write_run(tmp_path / os.fsdecode(b"odd\xff"), collapse=5)
    with viewing(tmp_path) as view:
        assert "at/odd%FF/" in view.ask("/")[2].decode()
        assert view.ask("/at/odd%FF/page.json")[0] == 200
        assert view.ask("/at/odd%FF/")[0] == 200
