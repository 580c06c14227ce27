"""Where a number comes from: commit, versions, machine, and what the hardware computes in."""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lab7.utils.files import ROOT, plural

PACKAGES = ("torch", "torchvision", "numpy", "numba", "accelerate")


def best_device() -> str:
    """The accelerator if there is one ("cuda", "mps"), else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_bf16(device: str | torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware; elsewhere it is emulated and slower than float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if kind == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))
    return False


def choose_precision(device: str | torch.device, wanted: str = "auto") -> str:
    """ "bf16" or "fp32": as wanted, and with "auto" bf16 where the hardware has it."""
    return ("bf16" if has_bf16(device) else "fp32") if wanted == "auto" else wanted


def device_name(device: str | torch.device) -> str:
    """The processor or GPU as its maker names it, with the threads in use on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {plural(torch.get_num_threads(), 'thread')}"


def provenance(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Commit, versions and machine, for a result file."""
    return {
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": device_name(device),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


@lru_cache
def commit() -> str:
    """The commit of the checkout, with "+" if files differ from it; "unknown" outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
        described = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return described.stdout.strip() or "unknown"


@lru_cache
def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
