"""Observers that note what each update of a run costs: processor time, or Python's calls."""

import statistics
import sys
import time


class Clock:
    """Notes the processor time, so that what else the machine does counts for little."""

    def read(self):
        return time.process_time()

    def start(self, run):
        self._read = [self.read()]

    def update(self, record):
        self._read.append(self.read())

    def end(self, summary):
        pass

    def medians(self, skip, count):
        """Median cost of an update, of `count` early ones (after `skip`) and of the last."""
        pairs = zip(self._read, self._read[1:], strict=False)
        taken = [after - before for before, after in pairs]
        early, late = taken[skip : skip + count], taken[-count:]
        return statistics.median(early), statistics.median(late)


class CallCounter(Clock):
    """Notes the calls that Python makes, of its own functions and of C's, on any machine alike."""

    calls = 0

    def read(self):
        return self.calls

    def start(self, run):
        self._before = sys.getprofile()
        sys.setprofile(self._count)
        super().start(run)

    def end(self, summary):
        sys.setprofile(self._before)

    def _count(self, frame, event, argument):
        self.calls += event in ("call", "c_call")
