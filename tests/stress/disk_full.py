"""Fill the disk at many points of a run: a clear message, exit code 1, resumable with room.

    python tests/stress/disk_full.py [--points 20]

The disk is a small tmpfs, mounted in a namespace of this process's own (needs Linux and
unshare, and user namespaces or root): run N gets N/points of what a whole run needs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import assert_same_run, report, tiny_words
from faults import Faults


def used(path: Path) -> int:
    """Bytes of a tree in whole pages, as a tmpfs counts them."""
    return sum(-(-item.lstat().st_size // 4096) * 4096 + 4096 for item in path.rglob("*"))


@contextmanager
def tmpfs(place: Path, size: int) -> Iterator[None]:
    """Mount a disk of so many bytes for the body of a with statement."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "x", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def fill(folder: Path, points: int) -> dict[str, object]:
    """Run on a disk of each size, then give it room and resume."""
    words, exits = tiny_words(folder), []
    disk = folder / "disk"
    disk.mkdir()
    with Faults() as warm:
        assert warm.do(*words, "--out", folder / "whole").code == 0
        needed = 2 * used(folder / "whole")  # at its peak a run holds up to three checkpoints
        for point in range(points):
            with tmpfs(disk, 32_768 + needed * point // points):
                path = disk / "run"
                outcome = warm.do(*words, "--out", path)
                is_drawn = "observer" not in outcome.messages
                exits.append(outcome.code if is_drawn else "all but a picture")
                assert "Traceback" not in outcome.messages, outcome.messages
                if outcome.code:
                    assert outcome.code == 1, outcome.messages
                    assert "No space left on device" in outcome.messages, outcome.messages
                subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
                again = warm.do(*words, "--out", path, "--resume")
                assert again.code == 0, again.messages
                assert_same_run(path, folder / "whole")
    found = {"full": exits.count(1), "had room": exits.count(0)}
    return {
        "sizes": points,
        **found,
        "no picture": len(exits) - sum(found.values()),
        "equal": points,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=20)
    chosen = parser.parse_args()
    if "COLLAPSE_LM_OWN_MOUNTS" not in os.environ:
        os.environ["COLLAPSE_LM_OWN_MOUNTS"] = "1"
        inside = ["unshare", "--mount", "--map-root-user", sys.executable, *sys.argv]
        os.execvp(inside[0], inside)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        found = fill(Path(folder), chosen.points)
        report("a disk that fills up", {**found, "seconds": round(time.perf_counter() - begin)})


if __name__ == "__main__":
    main()
