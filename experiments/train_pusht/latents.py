"""Stage `latents`: windows of the data through the frozen encoder, normalised, on disk as the transformer reads them.

`latents/NAME.npz` per data shard: `latent` float16 [M, 32, 5, 6, 6], `action` float32 [M, 16, 2] (model space), `task` int
[M], `step` int [M] (the frame of the episode that a window begins at), `in_the_way`, `errs` bool [M] (see `data`).
`latents/scale.npz`: `mean`, `std` float32 [32], which go into the autoencoder's config. `latents/sensitivity.npy`: how much
the decoder's picture changes with a latent token, float32 [32, 32].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from strands_diffusers_training.parallel import Progress, Ranks

from .data import Frames, in_the_way
from .vae import LATENT_DIM, NUM_FRAMES, build, decode, encode, to_clip


@dataclass
class LatentsConfig:
    """Encodes every episode chunk by chunk, and some windows in between."""

    windows_between: int = 1
    """Windows of 17 frames per episode beside those that follow each other, from the first frame on; they start anywhere."""

    batch: int = 8
    """Clips encoded at once."""

    init: str = ""
    """A pipeline folder whose latent scale to keep (for a transformer that starts from there); empty: measure it."""

    max_shards: int = 0
    """Training shards to encode; 0: all there are."""


def load_vae(work: Path, device: str, init: str = "", checkpoint: str = "") -> torch.nn.Module:
    """The autoencoder's averaged weights, from its cool-down where there is one; without a run of `vae`, `init`'s."""
    cooled = work / "vae_cooled.pt"
    newest = Path(checkpoint) if checkpoint else cooled if cooled.exists() else work / "vae.pt"
    if not newest.exists():
        if checkpoint or not init:
            raise SystemExit(f"There is no checkpoint {newest}. Run the stage `vae` first, or name what it wrote.")
        vae = build(init)
    else:
        state = torch.load(newest, map_location="cpu", weights_only=False)["average"]
        vae = build(init, decoder_base_dim=state["decoder.conv_out.weight"].shape[1])
        vae.load_state_dict(state)
    return vae.to(device).requires_grad_(False).eval()


def choose(data: Frames, between: int, rng: np.random.Generator) -> np.ndarray:
    """Windows [M, 4] as `Frames.windows` has them: of each episode those that follow each other, and `between` others."""
    windows = data.windows(NUM_FRAMES)
    firsts = np.flatnonzero(windows[:, 3] == 0)
    chosen: list[int] = []
    for begin, end in zip(firsts, [*firsts[1:], len(windows)], strict=True):
        follow = np.arange(begin, end, NUM_FRAMES - 1)
        others = rng.permutation(np.setdiff1d(np.arange(begin, end), follow))
        chosen += [*follow, *others[:between]]
    return windows[chosen]


def run(config: LatentsConfig, work: Path, ranks: Ranks) -> None:
    """Encode every shard that has no latents yet; ranks share them out."""
    torch.manual_seed(0)
    vae = load_vae(work, ranks.device, config.init).bfloat16()  # as the pipeline runs it
    target = work / "latents"
    target.mkdir(exist_ok=True)
    shards = sorted(p for p in (work / "data").glob("shard_*") if p.suffix != ".partial")
    shards = [work / "data" / "validation", *shards[: config.max_shards or None]]
    if ranks.first and not (target / "scale.npz").exists():
        _write_scale(config, vae, shards[1], target / "scale.npz", ranks)
    if ranks.first and not (target / "sensitivity.npy").exists():
        data, std = Frames([shards[1]]), np.load(target / "scale.npz")["std"]
        latent = _encode(vae, data, choose(data, 0, np.random.default_rng(0))[:24], ranks.device)
        np.save(target / "sensitivity.npy", sensitivity(vae.float(), latent, torch.from_numpy(std)).numpy())
        vae.bfloat16()
    jobs = [s for i, s in enumerate(shards) if i % ranks.world == ranks.rank]
    jobs = [s for s in jobs if not (target / f"{s.name}.npz").exists()]
    progress = Progress("latents", len(jobs), ranks)
    for done, shard in enumerate(jobs, 1):
        data = Frames([shard])
        windows = choose(data, config.windows_between, np.random.default_rng(len(shards) + done))
        latents = [
            _encode(vae, data, part, ranks.device) for part in np.array_split(windows, len(windows) // config.batch + 1)
        ]
        partial = target / f"{shard.name}.partial.npz"
        np.savez(
            partial,
            latent=torch.cat(latents).half().numpy(),
            action=np.stack([data.actions(s, f, NUM_FRAMES - 1) for s, f, _, _ in windows]) / 256 - 1,
            task=windows[:, 2],
            step=windows[:, 3],
            in_the_way=[in_the_way(data.state(s, f), task) for s, f, task, _ in windows],
            errs=[data.errs(s, f) for s, f, _, _ in windows],
        )
        partial.rename(target / f"{shard.name}.npz")
        progress.line(done, f"{len(windows)} windows each")


def _encode(vae: torch.nn.Module, data: Frames, windows: np.ndarray, device: str) -> torch.Tensor:
    clip = to_clip(np.stack([data.clip(s, f, NUM_FRAMES) for s, f, _, _ in windows])).to(device)
    with torch.no_grad():
        return encode(vae, clip.bfloat16())[0].cpu()


def sensitivity(vae: torch.nn.Module, latent: torch.Tensor, std: torch.Tensor, probes: int = 2) -> torch.Tensor:
    """Mean over tokens of J^T J, J the Jacobian of the decoded frames by a token of the normalised latent.

    An error e [32] of such a token changes the picture by e^T S e. Estimated by random projections of the picture. The
    first frame, which is always given, and tokens that differ little from the mean (the empty table) do not count.

    Args:
        vae: Autoencoder, float32, on any device.
        latent: Unnormalised latents [M, 32, T, h, w], on the CPU.
        std: The normalisation [32], on the CPU.
        probes: Random projections per clip.

    Returns:
        S [32, 32], its mean diagonal 1.
    """
    generator, device = torch.Generator().manual_seed(0), next(vae.parameters()).device
    usual, total = latent.mean(0), torch.zeros(LATENT_DIM, LATENT_DIM)
    for clip in latent:
        leaf = clip[None].to(device, copy=True).requires_grad_(True)
        frames = decode(vae, leaf)
        drawn = ((clip - usual) / std.view(-1, 1, 1, 1)).pow(2).mean(0)[1:] > 1
        for _ in range(probes):
            probe = torch.randn(frames.shape, generator=generator).to(device)
            (gradient,) = torch.autograd.grad(frames, leaf, probe, retain_graph=True)
            tokens = (gradient[0, :, 1:].cpu() * std.view(-1, 1, 1, 1))[:, drawn]
            total += tokens @ tokens.mT
    return total / total.diagonal().mean()


def _write_scale(config: LatentsConfig, vae: torch.nn.Module, shard: Path, path: Path, ranks: Ranks) -> None:
    data = Frames([shard])
    windows = choose(data, 0, np.random.default_rng(0))[:240]
    z = torch.cat(
        [_encode(vae, data, part, ranks.device) for part in np.array_split(windows, -(-len(windows) // config.batch))]
    )
    mean, std = z.mean((0, 2, 3, 4)).numpy(), z.std((0, 2, 3, 4)).numpy()
    if config.init:
        kept_mean, kept_std = np.float32(vae.config.latents_mean), np.float32(vae.config.latents_std)
        shift, ratio = np.abs((mean - kept_mean) / kept_std).max(), std / kept_std
        print(
            f"kept the scale of {config.init}: means off by {shift:.2f} std, std {ratio.min():.2f}-{ratio.max():.2f} x"
        )
        mean, std = kept_mean, kept_std
    np.savez(path, mean=mean, std=std)


def files(work: Path, name: str) -> list[Path]:
    """The complete `latents/{name}*.npz`."""
    return sorted(p for p in (work / "latents").glob(f"{name}*.npz") if ".partial" not in p.name)


@dataclass
class Windows:
    """Windows in memory, latents normalised. `noise`, `action_noise` are those of `practice`, empty of other files."""

    latent: torch.Tensor
    """float16 [M, 32, 5, 6, 6]."""
    action: torch.Tensor
    """float32 [M, 16, 2], model space."""
    task: np.ndarray
    in_the_way: np.ndarray
    errs: np.ndarray
    """bool [M]: the actions carry errors, so that no policy is to learn them."""
    has_first: np.ndarray
    """bool [M]: there is a frame 0 of the model's own, `first` float16 [M, 32, 6, 6] (stages `chains`, `mended`)."""
    first: torch.Tensor
    noise: torch.Tensor
    action_noise: torch.Tensor

    def __len__(self) -> int:
        return len(self.latent)

    def __add__(self, others: Windows) -> Windows:
        """These, then the others."""
        parts = {name: (getattr(self, name), getattr(others, name)) for name in self.__dataclass_fields__}
        return Windows(
            **{k: (torch.cat if isinstance(v[0], torch.Tensor) else np.concatenate)(v) for k, v in parts.items()}
        )


def scale_of(work: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents' channels, [1, 32, 1, 1, 1] each."""
    with np.load(work / "latents" / "scale.npz") as scale:
        mean, std = (torch.from_numpy(scale[k]).view(1, -1, 1, 1, 1) for k in ("mean", "std"))
    return mean, std


def load(work: Path, name: str) -> Windows:
    """All of `latents/{name}*.npz`, with the first frames in `chains/`."""
    mean, std = scale_of(work)
    parts: dict[str, list[Any]] = {field: [] for field in Windows.__dataclass_fields__}
    for path in files(work, name):
        chain = work / "chains" / path.name
        with np.load(path) as file:
            latent = ((torch.from_numpy(file["latent"]).float() - mean) / std).half()
            parts["latent"].append(latent)
            parts["action"].append(torch.from_numpy(file["action"]).float())
            parts["task"].append(file["task"])
            parts["in_the_way"].append(file["in_the_way"])
            parts["errs"].append(file["errs"] if "errs" in file else np.zeros(len(latent), bool))
            parts["noise"].append(torch.from_numpy(file["noise"]) if "noise" in file else latent[:0])
            parts["action_noise"].append(
                torch.from_numpy(file["action_noise"]) if "noise" in file else parts["action"][-1][:0]
            )
            own = "first" in file
            first = torch.from_numpy(file["first"]) if own else latent[:, :, 0]
        has_first = np.full(len(latent), own)
        if chain.exists():
            with np.load(chain) as file:
                first, has_first[file["row"]] = first.clone(), True
                first[file["row"]] = torch.from_numpy(file["first"])
        parts["first"].append(first)
        parts["has_first"].append(has_first)
    return Windows(
        **{k: torch.cat(v) if isinstance(v[0], torch.Tensor) else np.concatenate(v) for k, v in parts.items()}
    )


def channel_root(work: Path, floor: float) -> torch.Tensor:
    """R [32, 32] with R^T R = floor I + (1 - floor) S, S the decoder's sensitivity.

    Normalised latents have unit variance in every channel, also in those that the decoder hardly reads (9 of 32
    directions change nothing). The best prediction is the same under any such weighting; a small network that cannot
    reach it everywhere gets close where it shows.
    """
    identity = torch.eye(LATENT_DIM)
    if floor == 1:
        return identity
    path = work / "latents" / "sensitivity.npy"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run the stage `latents` again (it keeps what there is), or --floor 1")
    return torch.linalg.cholesky(floor * identity + (1 - floor) * torch.from_numpy(np.load(path))).mT
