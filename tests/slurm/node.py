"""A SLURM of one node, in a temporary folder: munge, controller and node daemon, all ended with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
InactiveLimit=0
KillWait=2
ReturnToService=2
MailProg=/bin/true
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=20000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A SLURM that runs: `cpu` and `gpu` are its partitions, on one node whose only GPU is none (/dev/null)."""

    folder: Path

    def jobs(self, state: str = "R") -> list[str]:
        """Numbers of the jobs in a state, oldest first."""
        listed = subprocess.run(
            ["squeue", "--noheader", "--sort=i", "--format=%A", f"--states={state}"],
            check=True,
            capture_output=True,
            text=True,
        )
        return listed.stdout.split()


def missing() -> str | None:
    """Why no SLURM can be started here; None if one can."""
    lacking = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "slurmd needs root"
    return None


@contextmanager
def one_node() -> Iterator[Slurm]:
    """Start the daemons in a folder that goes with them; commands of this process find them by its environment."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        slurm = Slurm(folder)
        os.environ |= {"PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
        try:
            _start(folder, stack)
            yield slurm
            subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
            _until(lambda: not slurm.jobs("PD,R,CG"), 20, "the jobs are gone")
        finally:
            stack.close()
            os.environ.clear()
            os.environ.update(before)


def _start(folder: Path, stack: ExitStack) -> None:
    for part in ("state", "spool"):
        (folder / part).mkdir()
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    host = socket.gethostname().partition(".")[0]
    controller, node = _free_ports(2)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, host=host, controller=controller, node=node, cpus=_cpus())
    )
    subprocess.run(["mungekey", "-c", "-k", str(folder / "munge.key")], check=True)
    munge = [f"--{kind}={folder}/munge.{kind}" for kind in ("socket", "pid-file", "log-file", "seed-file")]
    stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", f"--key-file={folder}/munge.key", *munge))
    _until((folder / "munge.socket").exists, 10, "munged listens")
    stack.enter_context(_daemon(folder, "slurmctld", "-D"))
    stack.enter_context(_daemon(folder, "slurmd", "-D"))
    _until(lambda: "idle" in _answer("sinfo", "--noheader", "--format=%t"), 30, f"the node is idle; see {folder}")


@contextmanager
def _daemon(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    with (folder / f"{name}.out").open("w") as output:
        process = subprocess.Popen([name, *arguments], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answer(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def _until(there: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def _cpus() -> int:
    """What SLURM lends: four at least, however few cores there are, for jobs of both partitions at once."""
    return max(4, os.cpu_count() or 1)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
