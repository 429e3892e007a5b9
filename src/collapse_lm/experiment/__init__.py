"""The parts of an experiment: what a run trains on, how it steps, how a configuration builds it."""
