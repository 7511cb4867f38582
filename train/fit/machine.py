"""What a training runs on: processes and devices, precision, compiled steps, and trackers."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from torch import Tensor, nn

from train.config import FitConfig, to_json
from train.errors import UsageError
from train.fit.checkpoints import flat
from train.networks.weights import last_line


def make_accelerator(config: FitConfig) -> Accelerator:
    """accelerate's view of the machine, for these settings.

    Raises:
        UsageError: the batch cannot be split over the processes, or the tracker is not installed.
    """
    tracker = None if config.tracker == "none" else config.tracker
    if tracker and tracker not in map(str, get_available_trackers()):
        raise UsageError(
            f"--tracker {tracker} needs its package: pip install {tracker}, or leave --tracker out."
        )
    # accelerate remembers the first precision in a process and refuses another one. It stores the
    # processes elsewhere.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=precision_of(config),
        cpu=not torch.cuda.is_available(),
        gradient_accumulation_steps=config.accumulate,
        # A step has --batch photos over all processes together.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        log_with=tracker,
        project_dir=config.out if tracker else None,
    )
    if config.batch % accelerator.num_processes:
        raise UsageError(
            f"--batch {config.batch} is not a multiple of {accelerator.num_processes} processes."
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    return accelerator


def start_tracker(accelerator: Accelerator, config: FitConfig) -> None:
    """Begin the tracker's record of this run with its settings, if there is a tracker.

    Raises:
        UsageError: the tracker refuses, such as without its login or its server.
    """
    if config.tracker == "none":
        return
    settings = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flat(to_json(config)).items()
    }
    names = {
        "wandb": {"name": config.out.name, "dir": str(config.out)},
        "mlflow": {"run_name": config.out.name},
    }
    try:
        accelerator.init_trackers("photo-classifier", config=settings, init_kwargs=names)
    except Exception as error:  # each tracker has errors of its own
        raise UsageError(
            f"--tracker {config.tracker} cannot begin: {last_line(error)[:300]} Set it up (wandb "
            "without a login: WANDB_MODE=offline), or leave --tracker out."
        ) from error


def precision_of(config: FitConfig) -> str:
    """The precision for accelerate; bf16 only if the hardware has it, else it is far slower."""
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "no"


def compiled(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The model's forward and backward pass, compiled once for each input size.

    Raises:
        UsageError: there is no C++ compiler, which torch needs on a CPU.
    """
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if device.type == "cpu" and not any(shutil.which(name) for name in compilers):
        raise UsageError(
            "--compile needs a C++ compiler, none was found: install g++, or leave --compile out."
        )
    made: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    return made
