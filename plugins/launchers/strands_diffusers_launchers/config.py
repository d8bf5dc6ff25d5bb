"""What users set of a launcher: `hydra.launcher.workers=2`."""

from dataclasses import dataclass

from strands_diffusers.errors import ConfigError

AUTO = "auto"


@dataclass
class LauncherConfig:
    """Common to both launchers."""

    workers: int | str = AUTO
    """Workers that run jobs side by side, 1 and more; auto: one per GPU, else 1. Each loads the model once."""

    threads_per_worker: int | str = AUTO
    """CPU threads of one worker, 1 and more; auto: OMP_NUM_THREADS where it is set, else its share of the cores."""

    kill_grace_s: float = 60.0
    """How long a job may go on beyond `sweep.timeout_s` before its worker counts as hung and is killed [s]."""

    def __post_init__(self) -> None:
        for name in ("workers", "threads_per_worker"):
            value = getattr(self, name)
            if value != AUTO and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                raise ConfigError(
                    f"hydra.launcher.{name}={value} must be auto or a whole number from 1. Type hydra.launcher.{name}=2."
                )
        if not self.kill_grace_s > 0:
            raise ConfigError(
                f"hydra.launcher.kill_grace_s must be > 0 seconds, got {self.kill_grace_s}. Type hydra.launcher.kill_grace_s=60."
            )


@dataclass
class PoolConfig(LauncherConfig):
    """Worker processes of this machine."""

    _target_: str = "hydra_plugins.strands_diffusers_launchers.launchers.PoolLauncher"

    gpus: list[str] | None = None
    """GPUs that workers get in turn, as in CUDA_VISIBLE_DEVICES (`[0,1]`, `[GPU-5f3a...]`); null: all that are visible."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpus == []:
            raise ConfigError(
                "hydra.launcher.gpus=[] leaves no GPU. Name some (hydra.launcher.gpus=[0,1]), or null for all that are visible; "
                "model.device=cpu runs without any."
            )


@dataclass
class RayConfig(LauncherConfig):
    """Ray actors of this machine or of a cluster."""

    _target_: str = "hydra_plugins.strands_diffusers_launchers.launchers.RayLauncher"

    address: str | None = None
    """A running cluster: auto (the one of this machine or of RAY_ADDRESS), host:port, or ray://host:port; null: start
    one on this machine for the time of the sweep."""

    gpus_per_worker: float | None = None
    """GPUs of one worker, parts of one included (0.5: two workers share a GPU); null: 1 where the cluster has GPUs,
    else 0."""

    cpus_per_worker: float | None = None
    """Cores of one worker; null: 1. Where the cluster has no GPU, setting it starts one worker per such share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("gpus_per_worker", 0.0), ("cpus_per_worker", 0.01)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise ConfigError(
                    f"hydra.launcher.{name} must be >= {low:g}, got {value}. Type hydra.launcher.{name}=1."
                )
