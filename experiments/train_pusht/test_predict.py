"""`predict` computes what `Cosmos3OmniPipeline` asks of its transformer, in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Cosmos3OmniPipeline, CosmosActionCondition, UniPCMultistepScheduler

from experiments.train_pusht import vae
from experiments.train_pusht.model import ACTION_DIM, NUM_ACTIONS, Batch, build, positions, predict
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
def test_predict_equals_the_pipelines_transformer(pipeline: Cosmos3OmniPipeline, mode: str) -> None:
    if mode == "text":
        call: dict[str, Any] = {"num_frames": 17, "height": 96, "width": 96}
    else:
        actions = torch.rand(NUM_ACTIONS, ACTION_DIM) * 2 - 1 if mode == "forward_dynamics" else None
        call = {
            "action": CosmosActionCondition(
                mode=mode,
                chunk_size=NUM_ACTIONS,
                domain_name="pusht",
                resolution_tier=256,
                raw_actions=actions,
                video=torch.rand(17, 3, 96, 96),
            )
        }
    for kwargs, result in recorded_calls(pipeline, **call)[2:]:
        noisy_frame, noisy_action = torch.zeros(1, 5, dtype=torch.bool), torch.zeros(1, NUM_ACTIONS, dtype=torch.bool)
        noisy_frame[0, kwargs["vision_noisy_frame_indexes"][0]] = True
        action = kwargs.get("action_tokens")
        if action is not None:
            noisy_action[0, kwargs["action_noisy_frame_indexes"][0]] = True
        times = torch.cat([kwargs["vision_timesteps"], *([kwargs["action_timesteps"]] if action is not None else [])])
        batch = Batch(
            ids_PL=torch.as_tensor(kwargs["input_ids"]).view(1, -1),
            length_P=torch.tensor([kwargs["und_len"]]),
            prompt_B=torch.tensor([0]),
            latent_BCTHW=kwargs["vision_tokens"][0],
            action_BAD=torch.zeros(1, NUM_ACTIONS, ACTION_DIM) if action is None else action[0][None],
            noisy_frame_BT=noisy_frame,
            noisy_action_BA=noisy_action,
            has_action_B=torch.tensor([action is not None]),
            sigma_B=times[:1] / 1000,
        )
        with torch.no_grad():
            latent, acted = predict(pipeline.transformer, batch, positions())
        torch.testing.assert_close(latent[:, :, noisy_frame[0]], result[0][0][:, :, noisy_frame[0]], rtol=0, atol=2e-5)
        if noisy_action.any():
            torch.testing.assert_close(acted[noisy_action], result[2][0][noisy_action[0]], rtol=0, atol=2e-5)
