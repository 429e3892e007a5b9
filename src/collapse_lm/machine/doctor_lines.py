"""The one type that the doctor reports in; apart from it, so that tables import no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DoctorLine:
    """One finding: what was looked at, what was found, and the command that mends it."""

    subject: str
    finding: str
    fix: str | None = None
