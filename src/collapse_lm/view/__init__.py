"""A local view of a folder of runs and sweeps, which moves while they run, or as files.

Knows the pages of `report.page` and serves them; it reads run directories and writes none.
"""
