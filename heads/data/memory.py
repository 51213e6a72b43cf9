"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Bytes that could be allocated on a device, or in this process's share of the host."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return 0  # the device has no memory of its own: features stay in the host's
    return min(_available(), _left_in_container())


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _left_in_container() -> int:
    """What a container's limit leaves; its page cache counts as free."""
    try:
        limit = (_CGROUP / "memory.max").read_text("ascii").strip()
        if limit == "max":
            return 1 << 62
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        numbers = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cached = {name: int(number) for name, number in numbers}.get("inactive_file", 0)
        return max(0, int(limit) - used + cached)
    except (OSError, ValueError):
        return 1 << 62
