"""Kill runs at random instants and at every call on the disk, resume, compare with a whole run.

    python tests/stress/kill.py [--tiny 100] [--smollm2 5] [--every-call]

The tiny model runs on one thread in children of a warm process (see tests/faults.py);
SmolLM2 through the command line in processes of its own, bfloat16, all threads.
"""

import argparse
import random
import subprocess
import tempfile
import time
from pathlib import Path

from common import assert_same_run, report, settings, tiny_words
from faults import COUNT, KILL, KILL_WITHIN, Faults
from test_resume import wait_for_rows

from commands import command


def tiny_at_random(folder: Path, number: int, seed: int) -> dict[str, object]:
    """Each run is killed until it is over, a random time after each start."""
    numbers, kills = random.Random(seed), []
    with Faults() as warm:
        words = tiny_words(folder)
        assert warm.do(*words, "--out", folder / "first").code == 0  # fonts are found, once
        begin = time.perf_counter()
        assert warm.do(*words, "--out", folder / "whole").code == 0
        longest = time.perf_counter() - begin
        for index in range(number):
            path, deaths = folder / f"run{index}", 0
            while True:
                after = numbers.uniform(0.02, longest)
                outcome = warm.do(*words, "--out", path, "--resume", kill_after=after)
                if outcome.signal is None:
                    break
                deaths += 1
            assert outcome.code == 0, outcome.messages
            assert_same_run(path, folder / "whole")
            kills.append(deaths)
    return {"runs": number, "equal": len(kills), "kills": sum(kills), "seed": seed}


def tiny_at_every_call(folder: Path) -> dict[str, object]:
    """One run per call on the disk (writes, fsyncs, renames, truncations, removals) and mode."""
    words = tiny_words(folder, "run.max_updates=6", "run.checkpoint_every=2")
    with Faults() as warm:
        whole = warm.do(*words, "--out", folder / "short", mode=COUNT, below=folder / "short")
        trials = 0
        for at in range(1, whole.calls + 1):
            for mode in (KILL, KILL_WITHIN):
                path = folder / f"call{at}-{mode}"
                first = warm.do(*words, "--out", path, mode=mode, at=at, below=path)
                assert first.signal == 9, first.messages
                again = warm.do(*words, "--out", path, "--resume")
                assert again.code == 0, again.messages
                assert_same_run(path, folder / "short")
                trials += 1
    return {"calls of a run": whole.calls, "runs": trials, "equal": trials}


def smollm2(folder: Path, number: int, seed: int) -> dict[str, object]:
    """The quickstart on the packaged model, 6 updates, a checkpoint every 2."""
    numbers, kills = random.Random(seed), []
    changes = settings(["run.max_updates=6", "run.checkpoint_every=2"])
    words = ("run", "quickstart", *changes, "--resume", "--out")
    subprocess.run(command(*words, folder / "whole"), check=True, stdout=subprocess.DEVNULL)
    for index in range(number):
        path = folder / f"run{index}"
        after, extra = numbers.randrange(6), numbers.uniform(0, 4)  # rows, then seconds
        process = subprocess.Popen(command(*words, path), stdout=subprocess.DEVNULL)
        wait_for_rows(path, after, 600)
        time.sleep(extra)
        process.kill()
        kills.append(process.wait() == -9)
        subprocess.run(command(*words, path), check=True, stdout=subprocess.DEVNULL)
        assert_same_run(path, folder / "whole")
    return {"runs": number, "equal": len(kills), "kills": sum(kills), "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", type=int, default=100, help="runs of the tiny model")
    parser.add_argument("--smollm2", type=int, default=5, help="runs of SmolLM2-135M")
    parser.add_argument("--every-call", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    trials = {
        "tiny model, random instants": lambda f: tiny_at_random(f, chosen.tiny, chosen.seed),
        "tiny model, every call on the disk": tiny_at_every_call,
        "SmolLM2-135M, random instants": lambda f: smollm2(f, chosen.smollm2, chosen.seed),
    }
    wanted = (chosen.tiny, chosen.every_call, chosen.smollm2)
    for (name, trial), is_wanted in zip(trials.items(), wanted, strict=True):
        if is_wanted:
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                found = trial(Path(folder))
                report(name, {**found, "seconds": round(time.perf_counter() - begin)})


if __name__ == "__main__":
    main()
