"""Runs of a tiny model in processes that die, or whose disk is full, at a chosen call.

A warm parent forks one child per run, so that a trial costs what the run costs and not
the start of Python and torch. tests/faults.c counts the calls.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from shutil import which

HERE = Path(__file__).parent
COUNT, KILL, KILL_WITHIN, FULL = 0, 1, 2, 3


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code or signal, its calls on the disk, its messages."""

    code: int | None
    signal: int | None
    calls: int | None
    messages: str


def compiler() -> str | None:
    return which("cc") or which("gcc")


class Faults:
    """A warm process that runs and resumes in children of its own, on one thread."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "faults.so"
        build = [compiler(), "-shared", "-fPIC", "-O1", "-o", library, HERE / "faults.c", "-ldl"]
        subprocess.run(build, check=True)
        self._process = subprocess.Popen(
            [sys.executable, __file__, library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *error):
        self._process.communicate(timeout=60)
        self._folder.cleanup()

    def do(self, *arguments, mode=COUNT, at=0, below="/", kill_after=None) -> Outcome:
        """Run `collapse-lm ARGUMENTS` in a child.

        Args:
            arguments: of the command line.
            mode: what happens at the call numbered `at` on a file below `below`.
            kill_after: seconds after which the child is killed; None lets it end.
        """
        job = {
            "arguments": [str(word) for word in arguments],
            "mode": mode,
            "at": at,
            "below": str(below),
            "kill_after": kill_after,
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


def _serve(library: Path) -> None:
    import torch

    torch.set_num_threads(1)
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama  # noqa: F401 - warm

    import collapse_lm.cli.main
    import collapse_lm.report.losses
    import collapse_lm.rundir.session  # noqa: F401 - warm

    faults = ctypes.CDLL(str(library))
    for line in sys.stdin:
        print(json.dumps(_fork(faults, json.loads(line))), flush=True)


def _fork(faults, job) -> dict[str, object]:
    with tempfile.TemporaryFile("w+") as messages, tempfile.TemporaryFile("w+") as counted:
        child = os.fork()
        if not child:
            os.dup2(messages.fileno(), 1)
            os.dup2(messages.fileno(), 2)
            os._exit(_child(faults, job, counted))
        timer = job["kill_after"] and threading.Timer(
            job["kill_after"], os.kill, (child, signal.SIGKILL)
        )
        if timer:
            timer.start()
        _, status = os.waitpid(child, 0)
        if timer:
            timer.cancel()
        messages.seek(0)
        counted.seek(0)
        return {
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "calls": int(counted.read() or 0) or None,
            "messages": messages.read(),
        }


def _child(faults, job, counted) -> int:
    """Be `collapse-lm ARGUMENTS`; return its exit code."""
    from collapse_lm.cli.main import main

    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - the parent's jobs are not ours
    sys.argv = ["collapse-lm", *job["arguments"]]
    faults.faults_arm(job["below"].encode(), job["mode"], ctypes.c_long(job["at"]))
    code = 0
    try:
        main()
    except SystemExit as ending:
        code = ending.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 99
    counted.write(str(faults.faults_calls()))
    counted.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
