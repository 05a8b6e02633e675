"""A real Slurm on this machine, for tests: controller, nodes, accounting and sshd, without an init system.

Belongs here: bringing it up and down, and doing to it what happens to clusters. Does not belong here: what Cosmo does
with a Slurm, or the texts of its configuration (`configuration`).

Run `python -m tests.slurm.cluster up` to have one by hand, `... down` to end it.
"""

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.slurm import configuration
from tests.slurm.configuration import Layout, Shape
from tests.slurm.daemons import Daemons, kill_all, until, with_descendants, with_environment

PORTS = range(26800, 27800, 100)
FOLDERS = Path("/var/tmp")
"""MariaDB runs as a user of its own, which must be able to enter the folder: nothing below a private home."""

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "slurmdbd": "slurmdbd slurm-wlm-mysql-plugin",
    "mariadbd": "mariadb-server",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
}


WITHOUT_PROFILE = """
for file in .bash_profile .bash_login .profile .bashrc; do
  if [ -e "$HOME/$file" ]; then mount --bind /dev/null "$HOME/$file"; fi
done
exec "$@"
"""
"""Runs a program, in a mount namespace of its own, for which the home's login scripts are empty. Slurm and SSH begin a
command with a login shell, tests kill it at any moment, and a script that it reads may hold a lock then: pyenv's lets
every later login wait for a minute."""


class NoClusterError(Exception):
    """This machine cannot have a Slurm; the message says why."""


class Cluster:
    """One instance, in one folder and one block of ports. Any number can stand side by side."""

    def __init__(self, port: int, shape: Shape | None = None) -> None:
        self.shape = shape or Shape()
        self.layout = Layout(FOLDERS / f"cosmo-slurm-{port}", port)
        self.folder = self.layout.folder
        self._daemons = Daemons(self.folder / "daemons")

    @property
    def nodes(self) -> list[str]:
        return self.shape.names

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs: Slurm's commands find the cluster, dagster-slurm its login node."""
        ssh = self.folder / "ssh"
        return {
            "SLURM_CONF": str(self.layout.slurm_conf),
            "SLURM_SSH_HOST": "127.0.0.1",
            "SLURM_SSH_PORT": str(self.layout.ssh_port),
            "SLURM_SSH_USER": "root",
            "SLURM_SSH_KEY": str(ssh / "id"),
            "SLURM_SSH_KNOWN_HOSTS_FILE": str(ssh / "known_hosts"),
            "DAGSTER_SLURM_SSH_CONTROL_DIR": str(ssh),
        }

    @property
    def login_node(self) -> dict[str, str | int]:
        """How a deployment file names it (`slurm.ssh`)."""
        ssh = self.folder / "ssh"
        return {
            "host": "127.0.0.1",
            "port": self.layout.ssh_port,
            "user": "root",
            "key_path": str(ssh / "id"),
            "known_hosts_file": str(ssh / "known_hosts"),
        }

    # Life

    def up(self) -> None:
        """Bring it up, over whatever an earlier run left behind.

        Raises:
            NoClusterError: this machine lacks what it takes.
            TimeoutError: a daemon did not answer; its log is quoted.
        """
        install_packages()
        self.down()
        for name in ("daemons", "state", "spool", "munge", "mysql", "mysql-tables", "ssh", "devices"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._configure()
        self._start_munge()
        self._start_database()
        self._start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self._start_sshd()
        self._answers("idle nodes", "slurmctld", lambda: self.idle_nodes() == self.nodes)

    def down(self) -> None:
        """End all its processes and remove its folder. Nothing to end is fine."""
        everywhere = {pid for node in self.nodes for pid in self._processes(node)}
        kill_all(everywhere | self._sessions())
        self._daemons.kill(*self._daemons.names())
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str, input: str = "") -> str:
        """Run one of Slurm's commands against this instance, past all code under test; its stdout, stripped."""
        done = subprocess.run(
            command,
            input=input,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout.strip()

    # What happens to clusters

    def kill_node(self, node: str, *, noticed: bool = True) -> None:
        """A power cut: slurmd, its step daemons and all that runs under them are gone at once.

        The controller needs about 30 s to see that; `noticed` tells it at once, as a monitoring system would."""
        kill_all(self._processes(node))
        self._daemons.kill(f"slurmd-{node}")
        if noticed:
            self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=power cut")

    def start_node(self, node: str, *, unmounted: Path | None = None) -> None:
        """Start a node's slurmd, as at boot; `unmounted` is a folder that it finds empty, as if its file system were
        not mounted there."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        command = _without_profile(["slurmd", "-D", "-N", node])
        if unmounted is not None:
            hide = 'mount -t tmpfs none "$1" && shift && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", hide, "sh", unmounted, *command]
        self._daemons.start(f"slurmd-{node}", command, {**self.environment, **self._mark(node)})

    def restart_slurmd(self, node: str) -> None:
        """An upgrade of a node: slurmd ends and starts again, its jobs go on."""
        self._daemons.kill(f"slurmd-{node}")
        self.start_node(node)

    def stop_controller(self) -> None:
        """slurmctld ends in good order, as for an upgrade: jobs go on, commands fail until it starts again."""
        self._daemons.signal("slurmctld", signal.SIGTERM)
        until(lambda: self._daemons.pid("slurmctld") is None, 30, "the end of slurmctld")

    def kill_controller(self) -> None:
        """slurmctld is gone, and with it what it has not saved: the jobs of the last five seconds."""
        self._daemons.kill("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld from the state that it saved, and wait until it answers."""
        self._daemons.start("slurmctld", ["slurmctld", "-D", "-i"], self.environment)
        self._answers("slurmctld", "slurmctld", lambda: "is UP" in self.run("scontrol", "ping"))

    def freeze_controller(self) -> None:
        """slurmctld accepts connections and says nothing, as when it is overloaded."""
        self._daemons.signal("slurmctld", signal.SIGSTOP)

    def thaw_controller(self) -> None:
        """Undo `freeze_controller`: it now works through what was asked meanwhile."""
        self._daemons.signal("slurmctld", signal.SIGCONT)

    def kill_accounting(self) -> None:
        """slurmdbd is gone: sacct fails, the controller goes on."""
        self._daemons.kill("slurmdbd")

    def start_accounting(self) -> None:
        """Undo `kill_accounting`."""
        self._start_accounting()

    def stop_login_node(self) -> None:
        """sshd and all its connections end, with the commands that came through them."""
        kill_all(self._sessions())
        self._daemons.kill("sshd")

    def start_login_node(self) -> None:
        """Undo `stop_login_node`."""
        server = [_program("sshd"), "-D", "-e", "-f", self.folder / "ssh" / "sshd_config"]
        self._daemons.start("sshd", _without_profile(server))
        self._answers("sshd", "sshd", lambda: not _is_free(self.layout.ssh_port))

    def preempt(self, node: str, seconds: float = 1) -> str:
        """Take a whole node for a job of the partition `main`; jobs of `spot` there must leave. The job's id."""
        return self.run(
            *("sbatch", "--parsable", "--partition=main", f"--nodelist={node}", "--exclusive", "--output=/dev/null"),
            *("--job-name=preemptor", f"--wrap=sleep {seconds:g}"),
        )

    def notify(self, job: str) -> None:
        """USR1 to a job's batch shell: what `--signal=B:USR1@N` sends some time before the time limit."""
        self.run("scancel", "--signal=USR1", "--batch", job)

    def near_time_limit(self, job: str, seconds: float) -> None:
        """Move a running job's time limit, of at least a minute, to so soon. It is enforced every 30 s.

        What is sooner than in five seconds is then: a time that has passed when the controller reads it is refused,
        and `now` has passed where another second has begun."""
        self.run("scontrol", "update", f"jobid={job}", f"EndTime=now+{max(seconds, 5):g}seconds")

    def idle_nodes(self) -> list[str]:
        """The nodes that are up and free, sorted."""
        return sorted(set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()))

    def state(self, job: str) -> str:
        """A job's state as the controller tells it, also for some minutes after its end; "" for an unknown job."""
        with suppress(AssertionError):
            return self.run("squeue", "-h", "-t", "all", "-r", "-j", job, "-o", "%T")
        return ""

    def reset(self) -> None:
        """For the next test: no job left, every node up and idle."""
        self.run("scancel", "--user=root")
        for node in self.nodes:
            if self._daemons.pid(f"slurmd-{node}") is None:
                self.start_node(node)
        until(lambda: not self.run("squeue", "-h") and self.idle_nodes() == self.nodes, 30, "an idle cluster")

    # Parts

    def _configure(self) -> None:
        layout, shape = self.layout, self.shape
        layout.slurm_conf.write_text(configuration.slurm_conf(layout, shape), encoding="utf-8")
        (self.folder / "gres.conf").write_text(configuration.gres_conf(layout, shape), encoding="utf-8")
        (self.folder / "cgroup.conf").write_text(configuration.cgroup_conf(), encoding="utf-8")
        (self.folder / "ssh" / "sshd_config").write_text(configuration.sshd_config(layout), encoding="utf-8")
        slurmdbd = self.folder / "slurmdbd.conf"
        slurmdbd.touch(mode=0o600)
        slurmdbd.write_text(configuration.slurmdbd_conf(layout), encoding="utf-8")
        for index in range(shape.gpus):
            # A device that behaves as /dev/null: Slurm wants a character device, and hands out its number.
            try:
                os.mknod(layout.devices / f"gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            except PermissionError:
                raise NoClusterError("this machine lets root make no devices") from None

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        # --force: it would rather not run as root, nor below a folder that others may write to.
        self._daemons.start(
            "munged",
            [
                *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.layout.munge_socket}"),
                *(f"--pid-file={folder}/pid", f"--log-file={folder}/log", f"--seed-file={folder}/seed"),
            ],
        )
        self._answers("munged", "munged", self.layout.munge_socket.exists)

    def _start_database(self) -> None:
        # A server that starts removes the temporary tables of every other one with the same folder for them.
        data, tables = self.folder / "mysql", self.folder / "mysql-tables"
        for folder in (data, tables):
            shutil.chown(folder, "mysql", "mysql")
        options = ["--no-defaults", "--user=mysql", f"--datadir={data}", f"--tmpdir={tables}"]
        install = ["mariadb-install-db", *options, "--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise NoClusterError(f"no database: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        server = [
            *("mariadbd", *options, f"--pid-file={data}/pid", f"--socket={data}/socket", "--bind-address=127.0.0.1"),
            f"--port={self.layout.database_port}",
            # slurmdbd complains of smaller values; nothing here has to survive a crash of the machine.
            *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0"),
        ]
        self._daemons.start("mariadbd", server)
        client = ["mariadb", "--no-defaults", "--user=root", f"--socket={data}/socket"]
        statements = (
            "create database slurm_acct; create user slurm@'127.0.0.1' identified by 'slurm', "
            "slurm@localhost identified by 'slurm'; "
            "grant all on slurm_acct.* to slurm@'127.0.0.1'; grant all on slurm_acct.* to slurm@localhost;"
        )
        self._answers("mariadbd", "mariadbd", (data / "socket").exists)
        self._answers("mariadbd", "mariadbd", lambda: self.run(*client, "-e", "select 1"))
        self.run(*client, "-e", statements)

    def _start_accounting(self) -> None:
        self._daemons.start("slurmdbd", ["slurmdbd", "-D"], self.environment)
        known = ["sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=cluster"]
        self._answers("slurmdbd", "slurmdbd", lambda: self.run(*known) or True)
        if "test" not in self.run(*known).split():
            self.run("sacctmgr", "--immediate", "add", "cluster", "test")

    def _start_sshd(self) -> None:
        ssh = self.folder / "ssh"
        for key in ("host", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / key)], check=True)
        host_key = " ".join((ssh / "host.pub").read_text(encoding="utf-8").split()[:2])
        known = f"[127.0.0.1]:{self.layout.ssh_port} {host_key}\n"
        (ssh / "known_hosts").write_text(known, encoding="utf-8")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.start_login_node()

    def _answers(self, what: str, daemon: str, condition: Callable[[], object]) -> None:
        """Wait for a daemon, whose commands fail at first; quote its log when it ends or does not answer."""

        def holds() -> bool:
            if self._daemons.pid(daemon) is None:
                raise TimeoutError(f"{daemon} ended")
            try:
                return bool(condition())
            except (AssertionError, subprocess.TimeoutExpired):
                return False

        try:
            until(holds, 30, what)
        except TimeoutError as error:
            log = self._daemons.log(daemon).read_text(encoding="utf-8", errors="replace")
            raise TimeoutError(f"{error}; the end of the log of {daemon}:\n{log[-2000:]}") from None

    def _mark(self, node: str) -> dict[str, str]:
        """What a node's daemons, its step daemons included, carry in their environment, and no other process."""
        return {"COSMO_TEST_NODE": f"{self.folder}/{node}"}

    def _sessions(self) -> set[int]:
        """sshd, and what runs in its connections."""
        return with_descendants([pid for pid in [self._daemons.pid("sshd")] if pid is not None])

    def _processes(self, node: str) -> set[int]:
        """All that runs on a node: its daemons, and jobs, whose environment Slurm itself marks."""
        daemons = with_environment(*(f"{name}={value}" for name, value in self._mark(node).items()))
        jobs = with_environment(f"SLURM_CONF={self.layout.slurm_conf}", f"SLURMD_NODENAME={node}")
        return with_descendants(daemons | jobs)


class Reservation:
    """A block of ports that no other process on this machine uses while this one lives: a lock on a file."""

    def __init__(self) -> None:
        """Raises:
        NoClusterError: all blocks are taken."""
        for port in PORTS:
            lock = (FOLDERS / f"cosmo-slurm-{port}.lock").open("w", encoding="ascii")
            if _locked(lock):
                # Whoever held this block is dead: what it left may be ended.
                Cluster(port).down()
                if all(_is_free(port + offset) for offset in range(20)):
                    self.port, self._lock = port, lock
                    return
            lock.close()
        raise NoClusterError(f"all blocks of ports from {PORTS.start} to {PORTS.stop} are in use")

    def release(self) -> None:
        self._lock.close()


def install_packages() -> None:
    """Install the Debian packages that are missing.

    Raises:
        NoClusterError: they are missing and cannot be installed.
    """
    if os.geteuid() != 0:
        raise NoClusterError("a Slurm of one's own takes root: it plays all users of a cluster")
    with (FOLDERS / "cosmo-slurm-packages.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [package for program, package in PACKAGES.items() if not _program(program)]
        if not missing:
            return
        if shutil.which("apt-get") is None:
            raise NoClusterError(f"missing, and there is no apt-get to install them: {' '.join(missing)}")
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *" ".join(missing).split()]
        for command in (["apt-get", "update", "-qq"], install):
            done = subprocess.run(
                command,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                timeout=240,
            )
            if done.returncode:
                raise NoClusterError(f"{' '.join(command)} failed: {done.stderr[-500:]}")


def _without_profile(command: list[str | Path]) -> list[str | Path]:
    """A command for which the home's login scripts are empty, where this machine lets root mount."""
    separate: list[str | Path] = ["unshare", "--mount", "sh", "-ec"]
    if subprocess.run([*separate, "mount --bind /dev/null /dev/null"], capture_output=True).returncode:
        return command
    return [*separate, WITHOUT_PROFILE, "sh", *command]


def _program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    # A block of its own: what stands in the others without a lock is taken for the remains of a killed test.
    by_hand = Cluster(PORTS.stop)
    {"up": by_hand.up, "down": by_hand.down}[sys.argv[1]]()
    if sys.argv[1] == "up":
        print("".join(f"export {name}={value}\n" for name, value in by_hand.environment.items()), end="")
