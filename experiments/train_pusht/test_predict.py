"""`predict` computes what `Cosmos3OmniPipeline` asks of its transformer, in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Cosmos3OmniPipeline, CosmosActionCondition, UniPCMultistepScheduler
from strands_diffusers_training.network import Batch, predict

from experiments.train_pusht import vae
from experiments.train_pusht.model import ACTION_DIM, LATENT_SHAPE, NUM_ACTIONS, build, layout
from experiments.train_pusht.prompts import build_tokenizer


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Cosmos3OmniPipeline:
    tokenizer = build_tokenizer(Path(tmp_path_factory.mktemp("tokenizer")))
    model = build(num_hidden_layers=2)
    for name, p in model.named_parameters():
        if name.startswith(("action_", "proj_out")):
            torch.nn.init.normal_(p, 0, 0.1)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0)
    pipe = Cosmos3OmniPipeline(
        model, tokenizer, vae.build(), scheduler, enable_safety_checker=False, default_use_system_prompt=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def recorded_calls(pipe: Cosmos3OmniPipeline, **call: Any) -> list[tuple[dict[str, Any], Any]]:
    """Arguments and results of every transformer call that one pipeline call makes."""
    calls, forward = [], pipe.transformer.forward

    def spy(**kwargs: Any) -> Any:
        result = forward(**kwargs)
        calls.append((kwargs, result))
        return result

    pipe.transformer.forward = spy
    try:
        pipe(prompt="Push the T block to the left.", fps=10.0, num_inference_steps=2, guidance_scale=2.0, **call)
    finally:
        del pipe.transformer.forward
    return calls


@pytest.mark.parametrize("mode", ["forward_dynamics", "inverse_dynamics", "policy", "text"])
@pytest.mark.parametrize("chunk", [16, 4])
def test_predict_equals_the_pipelines_transformer(pipeline: Cosmos3OmniPipeline, mode: str, chunk: int) -> None:
    """Of a chunk of 4, what is hidden in the batch has no part in it, whatever it holds."""
    if mode == "text":
        call: dict[str, Any] = {"num_frames": chunk + 1, "height": 96, "width": 96}
    else:
        actions = torch.rand(chunk, ACTION_DIM) * 2 - 1 if mode == "forward_dynamics" else None
        call = {
            "action": CosmosActionCondition(
                mode=mode,
                chunk_size=chunk,
                domain_name="pusht",
                resolution_tier=256,
                raw_actions=actions,
                video=torch.rand(chunk + 1, 3, 96, 96),
            )
        }
    for kwargs, result in recorded_calls(pipeline, **call)[2:]:
        noisy_frame, noisy_action = torch.zeros(1, 5, dtype=torch.bool), torch.zeros(1, NUM_ACTIONS, dtype=torch.bool)
        noisy_frame[0, kwargs["vision_noisy_frame_indexes"][0]] = True
        latent, action = torch.randn(1, *LATENT_SHAPE), torch.randn(1, NUM_ACTIONS, ACTION_DIM)
        frames = kwargs["vision_tokens"][0].shape[2]
        latent[:, :, :frames] = kwargs["vision_tokens"][0]
        times, acting = kwargs["vision_timesteps"], kwargs.get("action_tokens") is not None
        if acting:
            noisy_action[0, kwargs["action_noisy_frame_indexes"][0]] = True
            action[0, :chunk] = kwargs["action_tokens"][0]
            times = torch.cat([times, kwargs["action_timesteps"]])
        batch = Batch(
            ids_PL=torch.as_tensor(kwargs["input_ids"]).view(1, -1),
            length_P=torch.tensor([kwargs["und_len"]]),
            prompt_B=torch.tensor([0]),
            latent_BCTHW=latent,
            action_BAD=action,
            noisy_frame_BT=noisy_frame,
            noisy_action_BA=noisy_action,
            has_action_B=torch.tensor([acting]),
            sigma_B=times[:1] / 1000,
            chunk_B=torch.tensor([chunk]),
        )
        with torch.no_grad():
            vision, acted = predict(pipeline.transformer, batch, layout())
        noisy = noisy_frame[0, :frames]
        got, expected = vision[:, :, :frames][:, :, noisy], result[0][0][:, :, noisy]
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
        if noisy_action.any():
            torch.testing.assert_close(acted[noisy_action], result[2][0][noisy_action[0, :chunk]], rtol=0, atol=2e-5)
