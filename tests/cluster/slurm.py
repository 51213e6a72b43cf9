"""A real SLURM of two nodes and two pretended GPUs on this machine, on loopback alone.

No systemd, no accounting, no cgroups: three daemons and munge, in one folder, ended by their pids.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")

SETTINGS = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=15
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
PartitionName=low Nodes=ALL Default=YES MaxTime=4:00:00 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why no SLURM can be started here; None where one can."""
    if lacking := [name for name in PROGRAMS if _find(name) is None]:
        return f"{lacking[0]} is not installed (apt-get install slurm-wlm munge)"
    if os.getuid() != 0:
        return "SLURM's daemons want root here"
    return None


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def running_slurm() -> Iterator[dict[str, str]]:
    """Start it; yields the environment in which its commands find it."""
    folder = Path(mkdtemp(prefix="clare-slurm-", dir="/tmp"))  # a socket's path has to be short
    try:
        environment = _configure(folder)
        _start(folder, environment)
        yield environment
    finally:
        _stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> dict[str, str]:
    host = socket.gethostname().partition(".")[0]
    for name in ("ctld", "d-n1", "d-n2", "munge"):
        (folder / name).mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / "slurm.conf").write_text(
        SETTINGS.format(folder=folder, host=host, ports=_free_ports(3))
    )
    (folder / "gres.conf").write_text("NodeName=n1 Name=gpu File=/dev/tty[0-1]\n")
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    for place in (folder / "munge", folder / "munge" / "key"):
        shutil.chown(place, "munge", "munge")
    return {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}


def _start(folder: Path, environment: dict[str, str]) -> None:
    munge = folder / "munge"
    own = ("socket", "pid-file", "log-file", "seed-file")
    options = [f"--{name}={munge / name.removesuffix('-file')}" for name in own]
    as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
    _do([*as_munge, _path("munged"), f"--key-file={munge / 'key'}", *options], environment)
    _do([_path("slurmctld"), "-c"], environment)
    for node in ("n1", "n2"):
        _do([_path("slurmd"), "-c", "-N", node], environment)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True
        )
        if set(done.stdout.split()) == {"idle"}:
            return
        time.sleep(0.5)
    raise RuntimeError((folder / "ctld.log").read_text()[-3000:])


def _path(name: str) -> str:
    found = _find(name)
    assert found is not None
    return found


def _do(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


def _stop(folder: Path) -> None:
    """End its jobs, then the daemons by the pids that they wrote."""
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["scancel", "-u", "root"], env=environment, timeout=10, capture_output=True)
        time.sleep(2)
    files = [*folder.glob("slurmd-*.pid"), folder / "ctld.pid", folder / "munge" / "pid"]
    pids = []
    for file in files:
        with suppress(OSError, ValueError):
            pids.append(int(file.read_text()))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + 10
        while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in pids):
            time.sleep(0.1)
