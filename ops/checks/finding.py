"""A finding of `make doctor`: one line that says what is wrong and what to do."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that would fail, mislead or cost money; `remedy` is an instruction."""

    subject: str
    problem: str
    remedy: str

    def within(self, environment: str) -> "Finding":
        """The finding as one of an environment of samconfig.toml."""
        return replace(self, subject=f"{self.subject} [{environment}]")

    def __str__(self) -> str:
        line = f"{self.subject}: {self.problem} -> {self.remedy}"
        return " ".join(line.split())  # one line, even if the message has several
