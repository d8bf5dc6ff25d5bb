"""A dry run at Cosmos3-Nano's true shapes: all layers without numbers, one layer with them."""

import pytest
import torch
from diffusers import Cosmos3OmniTransformer
from strands_diffusers_training import estimate, flow
from strands_diffusers_training.network import layout_of, predict
from strands_diffusers_training.parameters import add_lora

NANO = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
NANO |= {
    "rope_axes_dim": [24, 20, 20],
    "latent_channel": 48,
    "patch_latent_dim": 192,
    "action_gen": True,
    "action_dim": 64,
}
BRIDGE, WIDTH = 7, 10


def nano(layers, **more):
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Cosmos3OmniTransformer(**NANO, num_hidden_layers=layers, **more)
    finally:
        torch.set_default_dtype(torch.float32)
    for layer in (model.time_embedder.linear_1, model.time_embedder.linear_2):  # float32, as from_pretrained keeps them
        for name in ("weight", "bias"):
            setattr(layer, name, torch.nn.Parameter(getattr(layer, name).detach().float()))
    return model, add_lora(model, 16, 16, 0)


def drawn(latent_shape, steps, modes, tokens=200):
    modes = torch.tensor(modes)
    size = len(modes)
    latent, acted = torch.randn(size, *latent_shape), torch.zeros(size, steps, 64)
    acted[..., :WIDTH] = torch.rand(size, steps, WIDTH)
    noise = torch.randn_like(latent), torch.randn_like(acted)
    ids, length = torch.ones(1, tokens, dtype=torch.long), torch.tensor([tokens])
    sigma, chunk, prompt = torch.full((size,), 0.7), torch.full((size,), steps), torch.zeros(size, dtype=torch.long)
    return flow.noised(modes, latent, acted, noise, sigma, chunk, prompt, ids, length, modes != flow.POLICY)


def test_all_of_nano_takes_a_batch_of_windows_at_480p(monkeypatch):
    """On tensors without numbers: every shape, type and gradient of a real step, in no memory."""
    autocast = torch.autocast  # which has no rule for such tensors
    monkeypatch.setattr(
        torch, "autocast", lambda device_type, **more: autocast(device_type.replace("meta", "cpu"), **more)
    )
    latent = (48, 5, 30, 40)
    with torch.device("meta"):
        model, trained = nano(36)
    examples = drawn(latent, 16, [flow.FORWARD, flow.INVERSE, flow.POLICY]).to("meta")
    layout = layout_of(model.config, latent, 16, 5.0, BRIDGE).to("meta")
    predicted = predict(model, examples.batch, layout, torch.bfloat16)
    error, action_error = flow.errors(examples.batch, predicted, examples.targets, width=WIDTH)
    (error.mean() + action_error.mean()).backward()
    assert predicted[0].shape == (3, *latent)
    assert predicted[1].shape == (3, 16, 64)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in trained)
    lora = sum(p.numel() for name, p in model.named_parameters() if "lora" in name)
    assert lora == estimate.lora_numbers(estimate.NANO, 16)
    assert estimate.tokens_of(estimate.NANO, latent, 16) == 5 * 15 * 20 + 16


@pytest.mark.slow
def test_one_layer_of_nano_learns_a_window_in_bfloat16_on_the_cpu():
    model, trained = nano(1, vocab_size=512)
    latent = (48, 2, 12, 16)
    with torch.no_grad():
        for head in (model.action_proj_in, model.action_proj_out):
            head.fc.weight.mul_(head.input_size**-0.5)
    examples = drawn(latent, 4, [flow.FORWARD, flow.POLICY], tokens=32)
    layout = layout_of(model.config, latent, 4, 5.0, BRIDGE)
    optimizer, losses = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0), []
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = predict(model, examples.batch, layout, torch.bfloat16, checkpointing=True)
        error, action_error = flow.errors(examples.batch, predicted, examples.targets, width=WIDTH)
        loss = error.mean() + action_error.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
