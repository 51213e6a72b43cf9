"""What mount options say of locks, and what a disk does that gives none."""

import errno
import fcntl

import pytest

from clare.store.claims import mounts
from clare.store.claims.mounts import is_of_this_host, kind_reaches, locks_may_reach
from clare.store.claims.owner import this_process

LINE = "36 35 98:0 /x {at} rw,relatime shared:1 - {kind} server:/export rw,{options}\n"


@pytest.mark.parametrize(
    ("kind", "options", "reach"),
    [
        ("ext4", "", True),
        ("nfs4", "vers=4.2,local_lock=none", True),
        ("nfs", "nolock", False),
        ("nfs", "local_lock=all", False),
        ("nfs", "local_lock=posix", False),
        ("nfs", "local_lock=flock", True),
        ("lustre", "flock", True),
        ("lustre", "localflock", False),
        ("lustre", "", False),
        ("cifs", "nobrl", False),
        ("fuse.sshfs", "", True),
    ],
)
def test_a_mount_s_options_tell(kind, options, reach):
    assert kind_reaches(kind, set(options.split(","))) == reach


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Mounts as the kernel lists them."""

    def lay(*lines: tuple[str, str, str]):
        listed = [LINE.format(at=at, kind=kind, options=options) for at, kind, options in lines]
        (tmp_path / "mountinfo").write_text("".join(listed))
        monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "mountinfo")
        return tmp_path / "data"

    (tmp_path / "data").mkdir()
    return lay


def test_the_innermost_and_last_mount_counts(mounted, tmp_path):
    data = str(tmp_path / "data")
    assert locks_may_reach(mounted(("/", "nfs", "nolock"), (data, "ext4", "")))
    assert not locks_may_reach(mounted(("/", "ext4", ""), (data, "nfs", "nolock")))
    assert not locks_may_reach(mounted((data, "ext4", ""), (data, "nfs", "nolock")))
    assert locks_may_reach(mounted((data + "x", "nfs", "nolock")))
    assert not locks_may_reach(mounted((str(tmp_path).replace("/", "\\057"), "lustre", "")))


def test_a_network_disk_is_asked_for_a_lock_in_a_child(mounted, tmp_path, monkeypatch):
    folder = mounted(("/", "nfs4", ""))
    assert locks_may_reach(folder)
    with (folder / "_probe.lock").open("ab") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        assert locks_may_reach(folder), "somebody was granted it"
    code = f"OSError({errno.ENOSYS}, 'no locks here')"
    monkeypatch.setattr(mounts, "_TRY", mounts._TRY.replace("fcntl.lockf(", f"raise {code}; ("))
    assert not locks_may_reach(folder)
    monkeypatch.setattr(mounts, "_TRY", "import time; time.sleep(60)")
    monkeypatch.setattr(mounts, "_PATIENCE", 0.05)
    assert not locks_may_reach(folder), "it never answers"


@pytest.mark.parametrize(
    ("kind", "here", "lasting"),
    [
        ("ext4", True, True),
        ("vfat", True, False),
        ("nfs4", False, True),
        ("fuse.sshfs", False, False),
        ("unheard-of", False, False),
    ],
)
def test_folders_have_a_number_where_it_lasts(mounted, tmp_path, kind, here, lasting):
    mounted((str(tmp_path), kind, ""))
    assert is_of_this_host(tmp_path) == here
    assert this_process(tmp_path).place == (tmp_path.stat().st_ino if lasting else 0)
