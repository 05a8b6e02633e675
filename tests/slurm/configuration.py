"""What the daemons of a test's Slurm are told.

Belongs here: the texts of their configuration files. Does not belong here: when they start and end (`cluster`).
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """What the cluster pretends to have; more cores than the machine is fine, as nothing is pinned or measured.

    `memory` is in MB per node; `grace` are the seconds between the notice of a preemption and its execution."""

    nodes: int = 4
    cpus: int = 4
    memory: int = 4000
    gpus: int = 2
    grace: int = 4

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Layout:
    """Where an instance lies: its folder, and the ports from `port` on."""

    folder: Path
    port: int

    @property
    def slurm_conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.folder / "munge" / "socket"

    @property
    def database_port(self) -> int:
        return self.port + 2

    @property
    def ssh_port(self) -> int:
        return self.port + 3

    @property
    def devices(self) -> Path:
        return self.folder / "devices"


def slurm_conf(layout: Layout, shape: Shape) -> str:
    """The controller's and the nodes' file, `slurm.conf(5)`. Four settings carry more than their names say:

    `cred_expire` is also how long a requeued job waits before it may start again (120 s by default; below 5 ignored);
    `AccountingStoragePass` is, with munge, the socket to use towards slurmdbd, which `AuthInfo` does not say;
    `preempt_send_user_signal` sends a job's own `--signal` at the start of the grace time, instead of TERM at its end;
    `config_overrides` lets nodes claim more than the machine has.
    """
    folder = layout.folder
    gres = f"Gres=gpu:fake:{shape.gpus}" if shape.gpus else ""
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={layout.port + 10 + index} CPUs={shape.cpus} "
        f"Boards=1 SocketsPerBoard=1 CoresPerSocket={shape.cpus} ThreadsPerCore=1 RealMemory={shape.memory} {gres}"
        for index, name in enumerate(shape.names)
    )
    return f"""
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={layout.port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket},cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny,DisableIPv6
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/state/slurmctld.pid
SlurmdPidFile={folder}/spool/slurmd-%n.pid
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
ReturnToService=2
SlurmdTimeout=10
KillWait=3
MinJobAge=300
MessageTimeout=5
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={layout.port + 1}
AccountingStoragePass={layout.munge_socket}
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
{"GresTypes=gpu" if shape.gpus else ""}
{nodes}
PartitionName=DEFAULT Nodes={",".join(shape.names)} DefMemPerCPU=100
PartitionName=main Default=YES PriorityTier=10 PreemptMode=off
PartitionName=spot PriorityTier=1 PreemptMode=requeue GraceTime={shape.grace}
"""


def gres_conf(layout: Layout, shape: Shape) -> str:
    """One character device per GPU: Slurm accepts neither a mere count nor an ordinary file."""
    return "".join(
        f"NodeName={name} Name=gpu Type=fake File={layout.devices}/gpu{index}\n"
        for name in shape.names
        for index in range(shape.gpus)
    )


def cgroup_conf() -> str:
    """Read even where no plugin uses control groups."""
    return "CgroupPlugin=cgroup/v1\n"


def slurmdbd_conf(layout: Layout) -> str:
    """`localhost` as StorageHost would mean MariaDB's default socket, not this instance's port."""
    return f"""
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={layout.port + 1}
CommunicationParameters=DisableIPv6
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={layout.database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
PidFile={layout.folder}/state/slurmdbd.pid
DebugLevel=info
"""


def sshd_config(layout: Layout) -> str:
    """One master connection carries every command and log of a user: the default of 10 sessions is soon used up."""
    ssh = layout.folder / "ssh"
    return f"""
Port {layout.ssh_port}
ListenAddress 127.0.0.1
HostKey {ssh}/host
PidFile none
AuthorizedKeysFile {ssh}/id.pub
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
MaxSessions 200
MaxStartups 100
SetEnv SLURM_CONF={layout.slurm_conf}
Subsystem sftp internal-sftp
"""
