"""Where audited texts lie: a source per format, which yields them as they stand."""
