"""How a model came to be: its training's settings, and those of the runs that it started from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from train.config import FitConfig, from_json, to_command, to_json

_STARTED_FROM = "started_from"


@dataclass(frozen=True, slots=True)
class Training:
    """The settings of one run of `fit`, and where its weights came from."""

    config: FitConfig
    started_from: tuple["Training", ...] = ()
    """Of `--start`: that run's own training, or, where it is a mean, those of its members."""

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values, the trainings before it among them where there are any."""
        before = [training.as_json() for training in self.started_from]
        return to_json(self.config) | ({_STARTED_FROM: before} if before else {})


def read_training(values: Mapping[str, Any]) -> Training:
    """Read what `as_json` wrote.

    Raises:
        UsageError: the settings have unknown or missing fields; the message names them.
    """
    settings = dict(values)
    before = settings.pop(_STARTED_FROM, [])
    return Training(
        from_json(FitConfig, settings), tuple(read_training(training) for training in before)
    )


def commands(members: Sequence[Training]) -> list[str]:
    """The commands that make the mean of these trainings anew, or the one, as a run named RUN.

    What these started from comes first and once, each run under a name of its own.
    """
    lines: list[str] = []
    _add_run(tuple(members), lines, {}, name="RUN")
    return lines


def _add_run(
    members: tuple[Training, ...],
    lines: list[str],
    names: dict[tuple[Training, ...], str],
    *,
    name: str = "",
) -> str:
    """Append the commands of a run that no line makes yet; its name."""
    if members in names:
        return names[members]
    parts = [_add_run((member,), lines, names) for member in members] if members[1:] else []
    before = members[0].started_from
    start = _add_run(before, lines, names) if before and not parts else ""
    name = name or f"RUN{len(names) + 1}"
    if parts:
        lines.append(f"python -m train average {' '.join(parts)} --out {name}")
    else:
        command = to_command(members[0].config).replace("--start START", f"--start {start}", 1)
        lines.append(command.replace("--out RUN", f"--out {name}", 1))
    names[members] = name
    return name
