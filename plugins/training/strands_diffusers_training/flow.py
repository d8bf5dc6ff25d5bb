"""Flow matching: noise levels, the modes, what a sample is asked, its errors, and samples carried along their own path.

x = (1 - s) data + s noise; the network predicts noise - data. What is given stays clean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from strands_diffusers_training.network import Batch, seen_actions, seen_frames

MODES = ("forward_dynamics", "inverse_dynamics", "policy", "image", "text")
"""Order of the modes' numbers. The last two are text-conditioned video, from a first frame and from nothing."""

FORWARD, INVERSE, POLICY, IMAGE, TEXT = range(len(MODES))

PURE = 0.9995
"""Noise level of a sampler's first step."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""For latents [B, C, T, H, W] and for actions [B, A, D]."""


@dataclass
class Examples:
    """Samples for the model, and what it is to say of them."""

    batch: Batch
    targets: Pair
    """Velocities."""
    clean: torch.Tensor
    """The true latents [B, C, T, H, W]."""
    modes: torch.Tensor
    """[B], numbers into MODES."""
    decided: torch.Tensor
    """bool [B]: there is one right answer, so that the sample may be carried."""
    held: torch.Tensor
    """bool [B]: it is carried with its actions on the way to the true ones, and only its video where the model leads it."""

    def to(self, device: str) -> Examples:
        """The same on a device."""
        latent, action = (x.to(device) for x in self.targets)
        return Examples(
            self.batch.to(device),
            (latent, action),
            self.clean.to(device),
            self.modes.to(device),
            self.decided.to(device),
            self.held.to(device),
        )

    def __getitem__(self, rows: torch.Tensor) -> Examples:
        """Some of the samples, in that order."""
        parts = {name: getattr(self.batch, name)[rows] for name in self._of_samples}
        latent, action = (x[rows] for x in self.targets)
        own = (getattr(self, name)[rows] for name in ("clean", "modes", "decided", "held"))
        return Examples(replace(self.batch, **parts), (latent, action), *own)

    def __add__(self, others: Examples) -> Examples:
        """Both, with the prompts of the first: a prompt's row must mean the same in both."""
        parts = {name: torch.cat([getattr(x.batch, name) for x in (self, others)]) for name in self._of_samples}
        latent, action = (torch.cat(pair) for pair in zip(self.targets, others.targets, strict=True))
        own = (torch.cat([getattr(x, name) for x in (self, others)]) for name in ("clean", "modes", "decided", "held"))
        return Examples(replace(self.batch, **parts), (latent, action), *own)

    @property
    def _of_samples(self) -> list[str]:
        return [name for name in self.batch.__dataclass_fields__ if name not in ("ids_PL", "length_P")]


def noise_levels(u_B: torch.Tensor, shift_B: torch.Tensor, lowest: float) -> torch.Tensor:
    """Levels shift u / (1 + (shift - 1) u), `u` uniform from `lowest` to 1: a shift over 1 favours high noise."""
    u = lowest + (1 - lowest) * u_B
    return (shift_B * u / (1 + (shift_B - 1) * u)).clamp(max=PURE)


def noised(
    modes: torch.Tensor,
    latent: torch.Tensor,
    action: torch.Tensor,
    noise: Pair,
    sigma: torch.Tensor,
    chunk: torch.Tensor,
    prompt: torch.Tensor,
    ids_PL: torch.Tensor,
    length_P: torch.Tensor,
    decided: torch.Tensor,
    held: torch.Tensor | None = None,
) -> Examples:
    """Samples as their modes ask them: what is to be predicted mixed with noise, what is given clean. `held`: none."""
    batch = Batch(
        ids_PL=ids_PL,
        length_P=length_P,
        prompt_B=prompt,
        latent_BCTHW=latent,
        action_BAD=action,
        noisy_frame_BT=torch.ones(len(modes), latent.shape[2], dtype=torch.bool),
        noisy_action_BA=((modes == INVERSE) | (modes == POLICY))[:, None].expand(len(modes), action.shape[1]),
        has_action_B=modes < IMAGE,
        sigma_B=sigma,
        chunk_B=chunk,
    )
    noisy_frame = seen_frames(batch) & (modes != INVERSE)[:, None]
    noisy_frame[modes != TEXT, 0] = False
    noisy_action = batch.noisy_action_BA & seen_actions(batch)
    s5, s3 = sigma.view(-1, 1, 1, 1, 1), sigma.view(-1, 1, 1)
    batch = replace(
        batch,
        noisy_frame_BT=noisy_frame,
        noisy_action_BA=noisy_action,
        latent_BCTHW=torch.where(noisy_frame[:, None, :, None, None], latent.lerp(noise[0], s5), latent),
        action_BAD=torch.where(noisy_action[..., None], action.lerp(noise[1], s3), action),
    )
    held = torch.zeros_like(decided) if held is None else held
    return Examples(batch, (noise[0] - latent, noise[1] - action), latent, modes, decided, held)


def errors(
    batch: Batch,
    predicted: Pair,
    targets: Pair,
    weight_BTHW: torch.Tensor | None = None,
    root_CC: torch.Tensor | None = None,
    width: int | None = None,
) -> Pair:
    """Mean squared error [B] over a sample's noisy latents, and over its noisy actions; 0 where it has none.

    `root`: R of a metric R^T R of the channels. `width`: columns of the domain, where the model's actions are wider.
    """
    error = predicted[0].float() - targets[0]
    if root_CC is not None:
        error = torch.einsum("dc,bcthw->bdthw", root_CC, error)
    error = error.pow(2).mean(1)
    mask = batch.noisy_frame_BT[:, :, None, None].expand_as(error).float()
    mask = mask if weight_BTHW is None else mask * weight_BTHW
    action_error = (predicted[1].float() - targets[1])[..., :width].pow(2).mean(-1)
    action_mask = batch.noisy_action_BA.float()
    vision = (error * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)
    return vision, (action_error * action_mask).sum(1) / action_mask.sum(1).clamp(min=1)


class Levels:
    """The usual error of each mode at each of ten noise levels, to divide by: they count alike.

    The error of a velocity is that of the data over the noise level, so that one and the same error of an action costs
    a hundred times as much at a level of 0.1 as at 1; and where a policy has yet to decide, its error says nothing.
    """

    def __init__(self, device: str) -> None:
        self.total, self.count = torch.zeros(2, 10 * len(MODES), device=device)

    def relative(self, error_B: torch.Tensor, mode_B: torch.Tensor, sigma_B: torch.Tensor) -> torch.Tensor:
        """The mean of the errors over the usual ones, samples with none (0) included."""
        bin_B = mode_B * 10 + (sigma_B * 10).long()
        known = (error_B.detach() > 0).float()
        self.total.mul_(0.995).index_add_(0, bin_B, error_B.detach())
        self.count.mul_(0.995).index_add_(0, bin_B, known)
        usual_B = (self.total / self.count.clamp(min=1e-9))[bin_B]
        return (error_B / usual_B.clamp(min=1e-9)).mean()


@torch.no_grad()
def euler(examples: Examples, predicted: Pair, sigma_B: torch.Tensor) -> Examples:
    """One Euler step along `predicted`, to the noise levels `sigma` (over 0); the targets lead from there to the truth."""
    batch, moved, wanted = examples.batch, [], []
    for x, target, velocity, noisy in (
        (batch.latent_BCTHW, examples.targets[0], predicted[0], batch.noisy_frame_BT[:, None, :, None, None]),
        (batch.action_BAD, examples.targets[1], predicted[1], batch.noisy_action_BA[..., None]),
    ):
        before, after = (s.view(-1, *[1] * (x.ndim - 1)) for s in (batch.sigma_B, sigma_B))
        moved.append(torch.where(noisy, x + (after - before) * velocity.float(), x))
        wanted.append((moved[-1] - (x - before * target)) / after)
    batch = replace(batch, latent_BCTHW=moved[0], action_BAD=moved[1], sigma_B=sigma_B)
    return replace(examples, batch=batch, targets=(wanted[0], wanted[1]))


@torch.no_grad()
def carry(examples: Examples, predicted: Pair, count: int, generator: torch.Generator | None = None) -> Examples | None:
    """`count` decided samples, at random, where the model's own step to some lower noise level leads them.

    The actions of a held one go towards the true ones instead, so that its video has to be mended to agree with them.
    None where there are fewer above a noise level of 0.1.
    """
    sigma = examples.batch.sigma_B
    drawn = torch.rand(2, len(sigma), generator=generator).to(sigma.device)
    chance = drawn[0] * (examples.decided & (sigma > 0.1))
    rows = chance.argsort(descending=True)[:count]
    if count == 0 or chance[rows[-1]] == 0:
        return None
    lower = (sigma[rows] * drawn[1, : len(rows)]).clamp(min=0.05)
    chosen = examples[rows]
    action = torch.where(chosen.held[:, None, None], chosen.targets[1], predicted[1].detach()[rows].float())
    led: Examples = euler(chosen, (predicted[0].detach()[rows], action), lower)
    return led
