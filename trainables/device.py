"""Everything that depends on the kind of device, in one place."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainables.errors import DeviceError

#: From this compute capability on, bf16 matrix units are faster than fp32 (Ampere, 2020).
_BF16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True)
class Device:
    """Where a trial computes, and in what precision."""

    place: torch.device
    autocast_dtype: torch.dtype | None  # None: fp32 throughout

    def autocast(self) -> torch.autocast:
        """Run a block in the device's fast precision; in fp32 where there is none."""
        return torch.autocast(self.place.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def synchronize(self) -> None:
        """Wait for the device, so that a clock read next tells the truth."""
        if self.place.type == "cuda":
            torch.cuda.synchronize(self.place)


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Memory of the GPU that this process trains on, bytes; zeros where it uses none."""

    peak: int  # the most that torch has taken from it for this process, the CUDA context apart
    total: int


def gpu_memory() -> GpuMemory:
    """What this process has taken of its GPU so far."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's
        return GpuMemory(0, 0)
    return GpuMemory(torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[1])


def visible_gpus() -> int:
    """How many GPUs torch sees."""
    return torch.cuda.device_count()


def cpu() -> Device:
    """The CPU in fp32: exact repetition matters more there than speed."""
    return Device(torch.device("cpu"), None)


def cuda() -> Device:
    """The first visible GPU; bf16 where it is good at it.

    Raises:
        DeviceError: torch sees no GPU.
    """
    if not torch.cuda.is_available():
        raise DeviceError(
            f"a GPU was asked for but torch {torch.__version__} sees none "
            "(is this a CPU build of torch, or is CUDA_VISIBLE_DEVICES empty?)"
        )
    # Convolution shapes are the same in every step, and TF32 is exact enough for training.
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    fast = torch.cuda.get_device_capability() >= _BF16_CAPABILITY
    return Device(torch.device("cuda", torch.cuda.current_device()), torch.bfloat16 if fast else None)


def auto() -> Device:
    """A GPU where torch sees one, else the CPU."""
    return cuda() if torch.cuda.is_available() else cpu()


DEVICES = {"auto": auto, "cpu": cpu, "cuda": cuda}


def device_for(cpus: float, gpus: float) -> Device:
    """The device of a trial that was given so much: a GPU where any of one was, else its share of the CPUs.

    Raises:
        DeviceError: a GPU was given that torch cannot see.
    """
    torch.set_num_threads(max(1, int(cpus)))
    return cuda() if gpus else cpu()
