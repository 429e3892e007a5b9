"""An observer that notes when each update of a run is over."""

import statistics
import time


class Clock:
    def start(self, run):
        self._times = [time.process_time()]

    def update(self, record):
        self._times.append(time.process_time())

    def end(self, summary):
        pass

    def medians(self, skip, count):
        """Median seconds of an update, of `count` early ones (after `skip`) and of the last.

        Of processor time, so that what else the machine does counts for nothing.
        """
        pairs = zip(self._times, self._times[1:], strict=False)
        taken = [after - before for before, after in pairs]
        early, late = taken[skip : skip + count], taken[-count:]
        return statistics.median(early), statistics.median(late)
