"""Catching a wait for the device inside the denoising loop. Shared by the GPU's tests and one that runs everywhere."""


def forbid_waiting(monkeypatch) -> list[str]:
    """Let any wait for a CUDA device inside `Loop.run` raise; returns the modes that are set, in their order."""
    import torch

    from strands_diffusers.pipelines.engine.loop import Loop

    run, modes = Loop.run, []

    def set_mode(mode: str) -> None:
        modes.append(mode)
        torch.cuda.set_sync_debug_mode(mode)

    def watched(*args, **options):
        set_mode("error")
        try:
            return run(*args, **options)
        finally:
            set_mode("default")

    monkeypatch.setattr(Loop, "run", watched)
    return modes
