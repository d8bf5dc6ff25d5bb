"""`predict` computes what `Cosmos3OmniPipeline` asks of its transformer, whatever the architecture."""

import pytest
import torch
from diffusers import CosmosActionCondition
from strands_diffusers_training.network import Batch, layout_of, patchify, predict, unpatchify
from tiny_cosmos3 import make_tiny_cosmos3

CHUNK, LONGEST, WIDTH, DOMAIN = 4, 8, 10, 7

LAYOUTS = {
    "nano": {"hidden": 128},  # four heads that share one of keys and values, patches of two by two
    "edge": {"hidden_act": "relu2", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True, "vae": "wan22"},
}


@pytest.mark.parametrize("mode", ["forward_dynamics", "inverse_dynamics", "policy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_gets_what_the_pipeline_s_own_calls_get(layout, mode):
    """Of a chunk of 4 in a batch with room for 8, what is hidden does not matter, whatever it holds."""
    pipe = make_tiny_cosmos3(**LAYOUTS[layout], layers=2)
    config, calls, forward = pipe.transformer.config, [], pipe.transformer.forward
    pipe.transformer.forward = lambda **kwargs: calls.append((kwargs, forward(**kwargs))) or calls[-1][1]
    action = CosmosActionCondition(
        mode=mode,
        chunk_size=CHUNK,
        domain_name="bridge_orig_lerobot",
        resolution_tier=256,
        raw_actions=torch.rand(CHUNK, WIDTH) if mode == "forward_dynamics" else None,
        video=torch.rand(CHUNK + 1, 3, 80, 112),  # 10 x 14 or 5 x 7 latents: not whole patches
    )
    with torch.no_grad():
        pipe(prompt="Push.", action=action, fps=5.0, num_inference_steps=1, guidance_scale=2.0)
    for kwargs, result in calls:
        own = kwargs["vision_tokens"][0]
        frames = own.shape[2]
        latent = torch.randn(1, own.shape[1], 3, *own.shape[3:])
        latent[:, :, :frames] = own
        acted = torch.randn(1, LONGEST, config.action_dim)
        acted[0, :CHUNK] = kwargs["action_tokens"][0]
        noisy_frame, noisy_action = torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1, LONGEST, dtype=torch.bool)
        noisy_frame[0, kwargs["vision_noisy_frame_indexes"][0]] = True
        noisy_action[0, kwargs["action_noisy_frame_indexes"][0]] = True
        times = torch.cat([kwargs["vision_timesteps"], kwargs["action_timesteps"]])
        ids = torch.as_tensor(kwargs["input_ids"]).view(1, -1)
        batch = Batch(
            ids_PL=torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], 1),  # as where another prompt is longer
            length_P=torch.tensor([kwargs["und_len"]]),
            prompt_B=torch.tensor([0]),
            latent_BCTHW=latent,
            action_BAD=acted,
            noisy_frame_BT=noisy_frame,
            noisy_action_BA=noisy_action,
            has_action_B=torch.tensor([True]),
            sigma_B=times[:1] / 1000,
            chunk_B=torch.tensor([CHUNK]),
        )
        layout_ = layout_of(config, tuple(latent.shape[1:]), LONGEST, 5.0, DOMAIN)
        with torch.no_grad():
            vision, action_velocity = predict(pipe.transformer, batch, layout_)
        noisy = noisy_frame[0, :frames]
        torch.testing.assert_close(vision[:, :, :frames][:, :, noisy], result[0][0][:, :, noisy], rtol=0, atol=2e-5)
        torch.testing.assert_close(
            action_velocity[noisy_action], result[2][0][noisy_action[0, :CHUNK]], rtol=0, atol=2e-5
        )


def test_checkpointing_changes_no_gradient():
    model = make_tiny_cosmos3(layers=2).transformer
    latent = torch.randn(2, 16, 2, 4, 6)
    batch = Batch(
        ids_PL=torch.arange(6)[None],
        length_P=torch.tensor([6]),
        prompt_B=torch.zeros(2, dtype=torch.long),
        latent_BCTHW=latent,
        action_BAD=torch.randn(2, 4, 64),
        noisy_frame_BT=torch.tensor([[False, True]] * 2),
        noisy_action_BA=torch.ones(2, 4, dtype=torch.bool),
        has_action_B=torch.ones(2, dtype=torch.bool),
        sigma_B=torch.tensor([0.3, 0.9]),
        chunk_B=torch.tensor([4, 4]),
    )
    layout, found = layout_of(model.config, tuple(latent.shape[1:]), 4, 5.0, DOMAIN), []
    for checkpointing in (False, True):
        model.zero_grad()
        vision, action = predict(model, batch, layout, checkpointing=checkpointing)
        (vision.square().sum() + action.square().sum()).backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-5, atol=1e-6, msg=name)


def test_patches_come_back_as_they_were():
    latent = torch.randn(2, 3, 4, 5, 7)
    assert torch.equal(unpatchify(patchify(latent, 2), 2, latent.shape), latent)
