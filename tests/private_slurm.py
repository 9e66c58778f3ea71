"""A Slurm of our own for tests: munged, slurmctld and slurmd in one folder, for this user and this machine alone."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mpi_helpers import mpi_environment

from megatron_fugaku.launch.processes import MARK, Keeper, end_launched, find_launched

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo")
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])
# The node is what slurmd finds, without cgroups and accounting: neither needs root nor systemd.
_CONFIGURATION = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
TmpFS={folder}/tmp
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/pgid
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
{node} NodeAddr=127.0.0.1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Return which of Slurm's and MUNGE's programs this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class PrivateSlurm:
    """A running cluster of one node; a context manager.

    A system's own Slurm stays untouched: every program of this one finds it through ``environment``. Daemons and jobs
    carry the launcher's mark, by which all of them are found and ended, by a keeper if the tests themselves are killed.
    The folder's name is short, because those of sockets are limited to about 100 characters.
    """

    def __init__(self, timeout_s: float = 30.0):
        self._timeout_s = timeout_s
        self._daemons: list[subprocess.Popen] = []

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables with which srun and sbatch reach this cluster, `extra` on top."""
        return {**mpi_environment(extra), "PATH": _PATH, "SLURM_CONF": str(self.configuration),
                MARK: self.folder.name}

    def run(self, command: list[str], timeout_s: float = 120, **options) -> subprocess.CompletedProcess[str]:
        """Run a command that talks to this cluster and return it finished; its exit status is the caller's to check."""
        options.setdefault("env", self.environment())
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, **options)

    def start(self, command: list[str], **options) -> subprocess.Popen[str]:
        """Start a command that talks to this cluster, with its output in pipes."""
        return subprocess.Popen(command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, **options)

    def pids(self) -> list[int]:
        """Return the running processes of this cluster and its jobs."""
        return find_launched(self.folder.name)

    def logs(self) -> str:
        """Return the end of every daemon's log."""
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}"
                         for path in sorted(self.folder.glob("*.log")))

    def __enter__(self) -> PrivateSlurm:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm"))
        self.configuration = self.folder / "slurm.conf"
        self._keeper = Keeper(self.folder.name)
        try:
            self._write_files()
            self._start_daemon(["munged", "--foreground", "--force", f"--key-file={self.folder}/key",
                                f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
                                f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/seed"])
            self._wait_for("MUNGE", (self.folder / "munge.socket").exists)
            self._start_daemon(["slurmctld", "-D", "-f", str(self.configuration)])
            self._start_daemon(["slurmd", "-D", "-f", str(self.configuration)])
            self._wait_for("Slurm", lambda: self.run(["sinfo", "-h", "-o", "%t"]).stdout.strip() == "idle")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _write_files(self) -> None:
        for name in ("state", "spool", "tmp"):
            (self.folder / name).mkdir()
        key = self.folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        (self.folder / "plugstack.conf").touch()
        # The first line of `slurmd -C` is the NodeName line; it needs no configuration.
        node = self.run(["slurmd", "-C"]).stdout.splitlines()[0]
        host = socket.gethostname().partition(".")[0]
        self.configuration.write_text(_CONFIGURATION.format(
            host=host, ports=_free_ports(2), user=getpass.getuser(), folder=self.folder, node=node))

    def _start_daemon(self, command: list[str]) -> None:
        log = self.folder / f"{command[0]}.out.log"
        with log.open("w") as output:
            self._daemons.append(subprocess.Popen(command, env=self.environment(), stdin=subprocess.DEVNULL,
                                                  stdout=output, stderr=output, start_new_session=True))

    def _wait_for(self, what: str, condition) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not condition():
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self._daemons):
                raise RuntimeError(f"{what} did not start\n{self.logs()}")
            time.sleep(0.1)

    def _end(self) -> None:
        try:
            left = end_launched(self.folder.name)
            self._keeper.__exit__()
            for daemon in self._daemons:
                daemon.wait(timeout=5)
            if left:
                raise RuntimeError(f"processes {left} of Slurm did not end\n{self.logs()}")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
