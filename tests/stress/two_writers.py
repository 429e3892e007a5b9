"""Start two processes on one run directory, again and again: exactly one runs each time.

python tests/stress/two_writers.py [--times 50]
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import assert_same_run, report, tiny_words
from faults import KILL, Faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=50)
    chosen = parser.parse_args()
    begin, resumed = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as name, Faults() as one, Faults() as other:
        folder = Path(name)
        words = tiny_words(folder)
        assert one.do(*words, "--out", folder / "whole").code == 0
        for index in range(chosen.times):
            path, is_resume = folder / f"run{index}", index % 2 == 1
            if is_resume:  # every second time both resume a run that was killed
                one.do(*words, "--out", path, mode=KILL, at=30 + index, below=path)
                resumed += 1
            arguments = ("resume", path) if is_resume else (*words, "--out", path)
            with ThreadPoolExecutor(2) as pool:
                jobs = [pool.submit(warm.do, *arguments) for warm in (one, other)]
                outcomes = [job.result() for job in jobs]
            codes = sorted(outcome.code for outcome in outcomes)
            assert codes == [0, 2], [outcome.messages for outcome in outcomes]
            assert_same_run(path, folder / "whole")
    found = {"times": chosen.times, "of these resumes": resumed, "exactly one ran": chosen.times}
    report("two writers", {**found, "seconds": round(time.perf_counter() - begin)})


if __name__ == "__main__":
    main()
