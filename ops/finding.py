"""What `make doctor` tells: one line a finding, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that would fail, mislead or cost; `remedy` is an instruction."""

    subject: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        line = f"{self.subject}: {self.problem} -> {self.remedy}"
        return " ".join(line.split())  # one line, whatever the message held
