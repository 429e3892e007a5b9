"""Pictures and pages made from run directories. Reads the record only; no torch."""
