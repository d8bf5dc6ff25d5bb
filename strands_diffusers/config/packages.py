"""What a plain install does not have: how users type it, and what pip installs for it."""

PACKAGES = {
    "hydra-optuna-sweeper": ("hydra/sweeper=optuna",),
    "hydra-ax-sweeper": ("hydra/sweeper=ax",),
    "hydra-nevergrad-sweeper": ("hydra/sweeper=nevergrad",),
    "hydra-joblib-launcher": ("hydra/launcher=joblib",),
    "hydra-rq-launcher": ("hydra/launcher=rq",),
    "hydra-submitit-launcher": ("hydra/launcher=submitit_slurm", "hydra/launcher=submitit_local"),
    "-e plugins/launchers": ("hydra/launcher=pool",),
    "-e 'plugins/launchers[ray]'": ("hydra/launcher=ray",),
    "-e plugins/engines": ("engine=compiled", "engine=cached"),
    "-e 'plugins/engines[fp8]'": ("engine=fp8",),
    "-e plugins/gymnasium": ("world=gymnasium", "score=gymnasium_reward", "observation=gymnasium:"),
    "-e plugins/https": ("observation=https:",),
    "-e plugins/lerobot": ("output=lerobot", "observation=lerobot:"),
    "-e plugins/pusht": (
        "policy=pusht_expert",
        "world=pusht",
        "score=pusht_coverage",
        "metric=pusht_horizon",
        "observation=pusht:",
    ),
    "-e plugins/rerun": ("output=rerun",),
    "-e plugins/trackio": ("tracker=trackio",),
    "-e plugins/training": ("adapt",),
    "-e plugins/workspace": ("wandb-workspace",),
}
"""What pip takes -> what the package brings, as typed."""


def missing(typed: str) -> str | None:
    """`engine=fp8 is in a package that is not installed: pip install ...`; None where no known package brings it."""
    package = next((package for package, brings in PACKAGES.items() if typed in brings), None)
    return package and f"{typed} is in a package that is not installed: pip install {package}"
