"""Whether locks on a disk can reach the other hosts that mount it, as far as this host can tell.

Some clients of network disks keep locks to themselves and grant what another host holds: NFS
mounted with ``nolock`` or ``local_lock``, Lustre with ``localflock``. Others refuse them, or never
answer.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from clare.foreign import read_bytes

_MOUNTS = Path("/proc/self/mountinfo")
_MOST_BYTES = 1 << 24
_PATIENCE = 10.0
"""Seconds for which a lock may be waited for: a server that is away gives none."""

_GRACE = 0.5

_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"),
    *("orangefs", "pvfs2", "smb3", "virtiofs"),
}
_OF_THIS_HOST = {
    *("bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "msdos", "ntfs3"),
    *("overlay", "tmpfs", "vfat", "xfs", "zfs"),
}
_LASTING = _OF_THIS_HOST - {"exfat", "msdos", "ntfs3", "vfat"} | {
    *("beegfs", "ceph", "gpfs", "lustre", "nfs", "nfs4"),
}
_TRY = """
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "ab"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except (BlockingIOError, PermissionError):
    pass  # somebody was granted it
except OSError:
    sys.exit(1)
"""


def locks_may_reach(folder: Path) -> bool:
    """False where locks in a folder certainly keep no other host out.

    Args:
        folder: that is there; a file of no content is made in it on network disks.
    """
    kind, options = _mount(folder)
    if not kind_reaches(kind, options):
        return False
    return not (kind in _NETWORK or kind.startswith("fuse")) or _are_granted(folder)


def is_of_this_host(folder: Path) -> bool:
    """Whether a folder lies on a disk of this host for certain: its kernel sees all locks there."""
    return _mount(folder)[0] in _OF_THIS_HOST


def folder_number(folder: Path) -> int:
    """What tells a folder from its copy, on whatever mount; 0 where no number is known to last.

    Mounts through FUSE, of vfat and of SMB may give a folder another number each time.
    """
    return folder.stat().st_ino if _mount(folder)[0] in _LASTING else 0


def kind_reaches(kind: str, options: set[str]) -> bool:
    """What a mount's type and options say; True where they say nothing."""
    if kind in ("nfs", "nfs4"):
        return options.isdisjoint({"nolock", "local_lock=all", "local_lock=posix"})
    if kind == "lustre":
        return "flock" in options
    if kind in ("cifs", "smb3"):
        return "nobrl" not in options
    return True


def _mount(folder: Path) -> tuple[str, set[str]]:
    """Type and options of the mount that a folder lies on; empty where the system has no list."""
    place = folder.resolve()
    best, found = -1, ("", set[str]())
    try:
        lines = read_bytes(_MOUNTS, _MOST_BYTES).decode(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        first, _, last = line.partition(" - ")
        words, more = first.split(), last.split()
        if len(words) < 6 or len(more) < 2:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4]))
        # Of several at one place, the last was mounted over the others.
        if place.is_relative_to(point) and len(point.parts) >= best:
            options = {*words[5].split(","), *(more[2].split(",") if len(more) > 2 else ())}
            best, found = len(point.parts), (more[0], options)
    return found


def _are_granted(folder: Path) -> bool:
    """Whether a lock is granted at all; asked in a process of its own, which may never end."""
    words = [sys.executable, "-I", "-S", "-c", _TRY, str(folder / "_probe.lock")]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return child.wait(_PATIENCE) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)  # no longer: a process in such a call can't be ended
        return False
