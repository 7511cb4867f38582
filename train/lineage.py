"""How a model came to be: its training's settings, and those of the runs that it started from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from train.config import DataConfig, FitConfig, NetworkConfig, from_json, to_json

_STARTED_FROM = "started_from"
_TAUGHT_BY = "taught_by"
_PRUNED_TO = "pruned_to"


@dataclass(frozen=True, slots=True)
class Training:
    """The settings of one run of `fit`, and which runs it was built on."""

    config: FitConfig
    started_from: tuple["Training", ...] = ()
    """Of `--start`: that run's own training, or, where it is a mean, those of its members."""
    taught_by: tuple[tuple["Training", ...], ...] = ()
    """Of each run of `--teacher` the same."""
    pruned_to: float | None = None
    """Share of its time that `prune` left of the run that this one started from; None of a run of
    `fit`."""

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values, the trainings before it among them where there are any."""
        values = to_json(self.config)
        if self.started_from:
            values[_STARTED_FROM] = [training.as_json() for training in self.started_from]
        if self.taught_by:
            values[_TAUGHT_BY] = [
                [training.as_json() for training in teacher] for teacher in self.taught_by
            ]
        if self.pruned_to is not None:
            values[_PRUNED_TO] = self.pruned_to
        return values


def read_training(values: Mapping[str, Any]) -> Training:
    """Read what `as_json` wrote.

    Raises:
        UsageError: the settings have unknown or missing fields; the message names them.
    """
    settings = dict(values)
    started_from = settings.pop(_STARTED_FROM, [])
    taught_by = settings.pop(_TAUGHT_BY, [])
    pruned_to = settings.pop(_PRUNED_TO, None)
    return Training(
        from_json(FitConfig, settings),
        tuple(read_training(training) for training in started_from),
        tuple(tuple(read_training(training) for training in teacher) for teacher in taught_by),
        pruned_to,
    )


def fitted(members: Sequence[Training]) -> list[Training]:
    """These trainings, and in the place of a pruned run those that it was made of."""
    return [
        run
        for member in members
        for run in (fitted(member.started_from) if member.pruned_to is not None else [member])
    ]


def commands(members: Sequence[Training]) -> list[str]:
    """The commands that make the mean of these trainings anew, or the one, as a run named RUN.

    What these started from and were taught by comes first and once, each run under a name of its
    own.
    """
    lines: list[str] = []
    _add_run(tuple(members), lines, {}, name="RUN")
    return lines


def cascade_commands(
    first: Sequence[Training],
    second: Sequence[Training],
    *,
    sizes_px: tuple[int, int] | None = None,
    like: bool = False,
) -> list[str]:
    """The commands that make a cascade of two runs anew, as a run named RUN.

    `sizes_px` are the sides of the two inputs where they may not be those of training. Runs that
    held no photos out take the rule from SIBLING, a cascade of siblings that did. `like` is for a
    rule that was fitted to the answers of a model, MODEL, instead.
    """
    lines: list[str] = []
    names: dict[tuple[Training, ...], str] = {}
    made = [
        _add_run(tuple(members), lines, names, name=name)
        for members, name in ((first, "FIRST"), (second, "SECOND"))
    ]
    words = ["python -m train cascade", *made]
    if first[0].config.data.held_out is None and not like:
        words.append("--tuned-on SIBLING")  # whose sizes are taken as well
    else:
        trained_px = (first[0].config.network.input_px, second[0].config.network.input_px)
        flags = zip(("--first-px", "--second-px"), sizes_px or trained_px, trained_px, strict=True)
        words += [f"{flag} {px}" for flag, px, trained in flags if px != trained]
    if like:
        words.append("--like MODEL")
    return [*lines, " ".join([*words, "--out RUN"])]


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
    if members[1:]:
        parts = [_add_run((member,), lines, names) for member in members]
        name = name or _numbered(names)
        lines.append(f"python -m train average {' '.join(parts)} --out {name}")
    else:
        (run,) = members
        places = {"START": run.started_from} if run.started_from else {}
        places |= {f"TEACHER{n}": teacher for n, teacher in enumerate(run.taught_by, start=1)}
        made = {place: _add_run(before, lines, names) for place, before in places.items()}
        name = name or _numbered(names)
        command = (
            to_command(run.config)
            if run.pruned_to is None
            else f"python -m train prune START --share {run.pruned_to} --out RUN"
        )
        words = command.split(" ")
        lines.append(" ".join(made.get(word, name if word == "RUN" else word) for word in words))
    names[members] = name
    return name


def _numbered(names: Mapping[tuple[Training, ...], str]) -> str:
    return f"RUN{sum(name.startswith('RUN') for name in names.values()) + 1}"


def to_command(config: FitConfig) -> str:
    """The command that trains with these settings anew.

    Places that differ from machine to machine stand in capitals: DIR, RUN, START, TEACHER1, and
    FILE where the weights were a file.
    """
    words = ["python -m train fit --data DIR --out RUN"]
    unsaid = _NOT_SAID | _unused(config)
    for part, defaults in (
        (config.data, DataConfig(data=config.data.data)),
        (config.network, NetworkConfig()),
        (config, FitConfig(out=config.out, data=config.data)),
    ):
        for setting in fields(part):
            value = getattr(part, setting.name)
            if (
                is_dataclass(value)
                or setting.name in unsaid
                or value == getattr(defaults, setting.name)
            ):
                continue
            words.append(_as_flag(setting.name, value))
    return " ".join(words)


# Where things lie and how fast they are read changes nothing in what is trained, and the channels
# come with the run that it starts from.
_PLACES = frozenset({"out", "data", "cache", "workers", "threads", "resume", "tensorboard"})
_NOT_SAID = _PLACES | {"hidden"}


def _unused(config: FitConfig) -> set[str]:
    """Settings of a run of before that changed nothing in it: `fit` would refuse them now."""
    held_out = {"holdout", "holdout_seed"} if config.data.held_out is None else set()
    return held_out | ({"weights"} if config.start else set())


def _as_flag(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    if name == "teacher":
        return " ".join([flag, *(f"TEACHER{n}" for n in range(1, len(value) + 1))])
    if isinstance(value, tuple):
        return " ".join([flag, *(str(item) for item in value)])
    if name == "weights" and (Path(value).suffix or "/" in value):
        return f"{flag} FILE"
    if name == "start":
        return f"{flag} START"
    return f"{flag} {value}"
