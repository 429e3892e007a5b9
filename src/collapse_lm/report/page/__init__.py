"""The page of runs: one format for report.html and for the live view (see `build`)."""
