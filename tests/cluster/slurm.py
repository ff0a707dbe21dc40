"""A real Slurm of two nodes on this machine: started and stopped by the tests, or by hand.

    python3 tests/cluster/slurm.py start FOLDER     # as root; then: sinfo -N
    python3 tests/cluster/slurm.py stop FOLDER

Debian's packages are enough: no accounting database, no cgroups, no systemd. Everything listens on 127.0.0.1 only and
keeps its files in the folder. `/etc/slurm/slurm.conf` becomes a link, since jobs do not inherit `SLURM_CONF`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Daemons lie where not every PATH looks."""
INSTALL = "MLPAPER_CLUSTER_INSTALL"
ETC = Path("/etc/slurm")

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=16817
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=2
OverTimeLimit=0
JobRequeue=0
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=12000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=12000 Gres=gpu:1 State=UNKNOWN
PartitionName=short Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=node2 MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why no Slurm can be started here, after installing it where that was asked for; None where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root"
    if missing and os.environ.get(INSTALL) != "1":
        return f"{', '.join(missing)}: not installed; {INSTALL}=1 installs Debian's packages"
    if missing:
        for command in (("update",), ("install", "-y", "--no-install-recommends", *PACKAGES)):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": PATH}
            try:
                done = subprocess.run(
                    ["apt-get", *command], env=environment, capture_output=True, text=True, timeout=180, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"Slurm cannot be installed: {error}"
            if done.returncode:
                return f"Slurm cannot be installed: {done.stderr.strip()[-300:]}"
    if any((ETC / name).exists() and not (ETC / name).is_symlink() for name in ("slurm.conf", "gres.conf")):
        return f"{ETC} holds the configuration of a cluster"
    return None


@dataclass
class Slurm:
    """Its daemons, and what tests do to them."""

    folder: Path

    def start(self) -> None:
        """Write the configuration, start the daemons, and wait until both nodes are idle."""
        for name in ("munge", "etc", "state", "run", "log", "spool/node1", "spool/node2"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o711)
        key = self.folder / "munge" / "munge.key"
        if not key.exists():
            key.write_bytes(os.urandom(128))
            key.chmod(0o400)
        text = CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=self.folder)
        (self.folder / "etc" / "slurm.conf").write_text(text)
        (self.folder / "etc" / "gres.conf").write_text("NodeName=node2 Name=gpu File=/dev/null\n")
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self.folder / "etc" / name)
        names = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._call("munged", *(f"--{option}={self.folder}/munge/munge.{end}" for option, end in names.items()))
        self.start_controller()
        for node in ("node1", "node2"):
            self.start_node(node)
        self.wait_idle()

    def start_controller(self) -> None:
        self._call("slurmctld")

    def start_node(self, node: str) -> None:
        self._call("slurmd", "-N", node)

    def wait_idle(self, nodes: int = 2, seconds: float = 60) -> None:
        """Wait until so many nodes are idle."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done = subprocess.run(["sinfo", "-h", "-N", "-o", "%N %T"], capture_output=True, text=True, check=False)
            if len({line for line in done.stdout.splitlines() if line.endswith(" idle")}) == nodes:
                return
            time.sleep(0.2)
        raise TimeoutError(f"Slurm's nodes are not idle after {seconds} s: {done.stdout}{done.stderr}")

    def kill_controller(self) -> None:
        """As in an outage: at once."""
        self._end(self.folder / "run" / "slurmctld.pid", signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """A crash: the daemon of a node, and all processes of its jobs."""
        jobs = subprocess.run(["squeue", "-h", "-w", node, "-o", "%A"], capture_output=True, text=True, check=True)
        self._end(self.folder / "run" / f"slurmd.{node}.pid", signal.SIGKILL)
        for job in jobs.stdout.split():
            for process in self.processes(job):
                _kill(process, signal.SIGKILL)

    def processes(self, job: str) -> list[int]:
        """All processes of a job: those with its id in their environment, and Slurm's own that started them."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes().split(b"\0")
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue  # ended meanwhile
            stepd = command.startswith(b"slurmstepd: [%s." % job.encode())
            if stepd or b"SLURM_JOB_ID=" + job.encode() in environment:
                found.append(int(path.name))
        return found

    def submissions(self) -> list[dict[str, str]]:
        """All jobs that were ever submitted, as `scontrol` shows them."""
        shown = subprocess.run(["scontrol", "-o", "show", "jobs"], capture_output=True, text=True, check=True).stdout
        return [
            dict(it.split("=", 1) for it in line.split() if "=" in it) for line in shown.splitlines() if "JobId" in line
        ]

    def stop(self) -> None:
        """End the daemons and remove the links."""
        if shutil.which("scancel"):
            subprocess.run(["timeout", "10", "scancel", "-u", "root"], capture_output=True, check=False)
        for name in ("slurmd.node1.pid", "slurmd.node2.pid", "slurmctld.pid"):
            self._end(self.folder / "run" / name, signal.SIGTERM)
        self._end(self.folder / "munge" / "munge.pid", signal.SIGTERM)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)

    def _call(self, *command: str) -> None:
        program = shutil.which(command[0], path=PATH) or command[0]
        subprocess.run([program, *command[1:]], check=True, timeout=30, stdin=subprocess.DEVNULL, capture_output=True)

    def _end(self, pid_file: Path, sign: signal.Signals) -> None:
        """Signal a daemon and wait until it is gone, for at most ten seconds; process 1 may reap late."""
        if not pid_file.exists() or not (text := pid_file.read_text().strip()):
            return
        _kill(int(text), sign)
        end = time.monotonic() + 10
        while time.monotonic() < end and _alive(int(text)):
            time.sleep(0.05)
        pid_file.unlink(missing_ok=True)


def _kill(process: int, sign: signal.Signals) -> None:
    try:
        os.kill(process, sign)
    except ProcessLookupError:
        return


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    action, place = sys.argv[1:]
    if action == "start" and (reason := why_not()):
        sys.exit(reason)
    getattr(Slurm(Path(place).resolve()), {"start": "start", "stop": "stop"}[action])()
