"""One forward pass of the Cosmos 3 transformer over generated tokens: latents in, velocities out.

What `Cosmos3OmniTransformer.forward` does besides its layers: patchify, project, add the timestep, and back. Indices
are known beforehand, so nothing here asks the device for a value.

Shapes: B samples, C latent channels, T latent frames, H and W latent cells, S sound frames, A action steps, D action
channels of the model, N tokens of one sample, E hidden width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from strands_diffusers.pipelines.engine.attention import generation_layer
from strands_diffusers.pipelines.engine.hooks import through_hooks
from strands_diffusers.pipelines.engine.layout import Layout
from strands_diffusers.pipelines.engine.samebits import same_bits
from strands_diffusers.pipelines.engine.text import Text


class State(NamedTuple):
    """The latents of B samples, or their velocities, float32."""

    vision: Tensor
    """[B, C, T, H, W]"""

    sound: Tensor | None = None
    """[B, channels, S]"""

    action: Tensor | None = None
    """[B, A, D]"""


def rows(state: State, begin: int, end: int) -> State:
    """The samples `begin` to `end` of a state."""
    return State(*(None if latents is None else latents[begin:end] for latents in state))  # type: ignore[arg-type]


class Reading(NamedTuple):
    """The tokens of a sample whose velocity is wanted."""

    tokens: Tensor | None
    """Their places [R]; None: all."""

    counts: tuple[int, int, int]
    """How many are of vision, sound and action."""


LayerFunction = Callable[..., Tensor]
"""`generation_layer`, or a faster function with its signature."""


class Denoiser:
    """The transformer for one layout and domain. Holds no state: threads may share it."""

    def __init__(
        self,
        transformer: Any,
        layout: Layout,
        domain: int | None,
        action_width: int | None,
        device: Any,
        layer_function: LayerFunction = generation_layer,
        layers: Any = None,
    ) -> None:
        self.transformer, self.layout, self.layer_function = transformer, layout, layer_function
        self.layers = transformer.layers if layers is None else layers
        self.dtype = transformer.dtype
        self.noisy_frames = torch.tensor(layout.noisy_frames, dtype=torch.long, device=device)
        noisy = torch.zeros(layout.grid[0], dtype=torch.bool, device=device).index_fill_(0, self.noisy_frames, True)
        self.noisy_tokens = noisy.repeat_interleave(layout.frame_tokens).unsqueeze(-1)  # [vision tokens, 1]
        self.read = self._reading(*layout.noisy_counts, device)
        others = layout.noisy_counts[1:]
        self.read_at_end = self._reading(0, *others, device) if any(others) else self.read
        self.action_width = action_width
        self.action_in = self.action_out = None
        if layout.action_steps:
            self.action_in = DomainLinear(transformer.action_proj_in, domain, device)
            self.action_out = DomainLinear(transformer.action_proj_out, domain, device)

    def _reading(self, vision: int, sound: int, action: int, device: Any) -> Reading:
        """The reading of so many tokens of each stream, of those that carry noise."""
        skipped = self.layout.noisy_counts[0] - vision
        tokens = self.layout.read_tokens[skipped:]
        whole = len(tokens) == self.layout.tokens
        return Reading(
            None if whole else torch.tensor(tokens, dtype=torch.long, device=device), (vision, sound, action)
        )

    def velocity(
        self,
        state: State,
        embeds: tuple[Tensor | None, ...],
        text: Text,
        rotary: tuple[Tensor, Tensor],
        without_vision: bool = False,
    ) -> State:
        """Predict the velocity of every latent; zero where a latent conditions.

        `embeds` are the timestep embeddings of vision, sound and action tokens, one row or one per noisy token.
        `without_vision`, at the last step of a call without the video, leaves that of the vision latents at zero.
        """
        reading = self.read_at_end if without_vision else self.read
        tokens = self.embed(state, embeds)
        for layer, (keys, values) in list(zip(self.layers, text.layers, strict=True))[:-1]:
            tokens = through_hooks(layer, self.layer_function, tokens, keys, values, *rotary)
        return self.predict(self._last_layer(reading.tokens, tokens, *text.layers[-1], *rotary), state, reading)

    def _last_layer(self, read: Tensor | None, tokens: Tensor, *others: Tensor) -> Tensor:
        """Return the last hidden state [B * R, E] of the R tokens of each sample that are read.

        A kernel may add in another order for fewer rows, so on a CPU all are computed until that is known not to be.
        """
        layer, norm = self.layers[-1], self.transformer.norm_moe_gen
        if read is None:
            return norm(through_hooks(layer, self.layer_function, tokens, *others))

        def of_read() -> Tensor:
            return norm(through_hooks(layer, self.layer_function, tokens, *others, read))

        def of_all() -> Tensor:
            hidden = norm(through_hooks(layer, self.layer_function, tokens, *others))
            return hidden.unflatten(0, (-1, self.layout.tokens)).index_select(1, read).flatten(0, 1)

        if tokens.device.type != "cpu":
            return of_read()
        weights = tuple(weight.shape for weight in layer.parameters())
        layout = (self.layout, weights, read.shape, tokens.shape, others[0].shape, tokens.dtype)
        return same_bits(("last layer", layout), of_read, of_all)

    def embed(self, state: State, embeds: tuple[Tensor | None, ...]) -> Tensor:
        """Project latents to tokens [B * N, E] and add the timestep to those that carry noise."""
        transformer, batch = self.transformer, state.vision.shape[0]
        for_vision, for_sound, for_action = embeds
        x = transformer.proj_in(self.patchify(state.vision.to(self.dtype)))
        x = x.view(batch, self.layout.vision_tokens, -1)
        if for_vision is not None:
            x = self._add_to_noisy(x, for_vision)
        parts = [x]
        if state.sound is not None:
            rows = state.sound.to(self.dtype).transpose(1, 2)
            x = transformer.audio_proj_in(rows.flatten(0, 1)).view(batch, self.layout.sound_frames, -1)
            parts.append(x + transformer.audio_modality_embed + for_sound)
        if state.action is not None:
            assert self.action_in is not None
            x = self.action_in(state.action.to(self.dtype).flatten(0, 1)).view(batch, self.layout.action_steps, -1)
            x = x + transformer.action_modality_embed
            parts.append(x if for_action is None else x + for_action)
        return torch.cat(parts, dim=1).flatten(0, 1)

    def _add_to_noisy(self, x: Tensor, embed: Tensor) -> Tensor:
        if embed.shape[0] == 1:
            return torch.where(self.noisy_tokens, x + embed, x)
        x = x.unflatten(1, (-1, self.layout.frame_tokens))
        noisy = x.index_select(1, self.noisy_frames) + embed.view(-1, *x.shape[2:])
        return x.index_copy(1, self.noisy_frames, noisy).flatten(1, 2)

    def predict(self, hidden: Tensor, state: State, reading: Reading) -> State:
        """Read the velocities, float32, from the last hidden state [B * R, E] of the tokens of `reading`."""
        transformer, layout, batch = self.transformer, self.layout, state.vision.shape[0]
        of_vision, of_sound, of_action = hidden.unflatten(0, (batch, -1)).split(reading.counts, dim=1)
        vision = torch.zeros_like(state.vision, dtype=torch.float32)
        if reading.counts[0]:
            cells = self.unpatchify(transformer.proj_out(of_vision.flatten(0, 1)), batch)
            vision.index_copy_(2, self.noisy_frames, cells.float())
        sound = action = None
        if state.sound is not None:
            sound = transformer.audio_proj_out(of_sound.flatten(0, 1)).view(batch, layout.sound_frames, -1)
            sound = sound.transpose(1, 2).float()
        if state.action is not None and not layout.actions_given:
            assert self.action_out is not None
            action = self.action_out(of_action.flatten(0, 1)).view(batch, layout.action_steps, -1).float()
            if self.action_width is not None:
                action[:, :, self.action_width :] = 0
        return State(vision, sound, action)

    def keep_padding(self, state: State) -> State:
        """Zero the action channels that the domain does not have, as diffusers does after each step."""
        if state.action is not None and self.action_width is not None and not self.layout.actions_given:
            state.action[:, :, self.action_width :] = 0
        return state

    def patchify(self, vision: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B * vision tokens, p * p * C], with zeros where the canvas is no multiple of the patch."""
        p, (frames, rows, columns) = self.layout.patch, self.layout.grid
        batch, channels, _, height, width = vision.shape
        vision = functional.pad(vision, (0, columns * p - width, 0, rows * p - height))
        vision = vision.reshape(batch, channels, frames, rows, p, columns, p)
        return vision.permute(0, 2, 3, 5, 4, 6, 1).reshape(-1, p * p * channels)

    def unpatchify(self, rows_of_patches: Tensor, batch: int) -> Tensor:
        """[B * noisy tokens, p * p * C] -> [B, C, noisy frames, H, W]."""
        p, (_, rows, columns) = self.layout.patch, self.layout.grid
        channels, _, height, width = self.layout.latent
        x = rows_of_patches.view(batch, -1, rows, columns, p, p, channels).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(batch, channels, -1, rows * p, columns * p)[..., :height, :width]


class DomainLinear:
    """diffusers' `DomainAwareLinear` for one domain: its weight is looked up once, not once per token and step.

    The product is the same batched one, with the weight of stride zero over the batch, so the numbers are the same.
    """

    def __init__(self, linear: Any, domain: int | None, device: Any) -> None:
        if domain is None or not 0 <= domain < linear.num_domains:
            raise ValueError(f"Cosmos3 action domain_id must be in [0, {linear.num_domains}), got {domain}.")
        index = torch.tensor([domain], dtype=torch.long, device=device)
        self.weight = linear.fc(index).view(1, linear.input_size, linear.output_size)
        self.bias = linear.bias(index).view(1, linear.output_size)

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, input] -> [rows, output]"""
        return torch.bmm(x.unsqueeze(1), self.weight.expand(x.shape[0], -1, -1)).squeeze(1) + self.bias
