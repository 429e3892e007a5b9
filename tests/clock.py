"""An observer that notes when each update of a run is over."""

import statistics
import time


class Clock:
    def start(self, run):
        self._times = [time.perf_counter()]

    def update(self, record):
        self._times.append(time.perf_counter())

    def end(self, summary):
        pass

    def medians(self, skip, count):
        """Median seconds of an update, of `count` early ones (after `skip`) and of the last."""
        pairs = zip(self._times, self._times[1:], strict=False)
        taken = [after - before for before, after in pairs]
        early, late = taken[skip : skip + count], taken[-count:]
        return statistics.median(early), statistics.median(late)
