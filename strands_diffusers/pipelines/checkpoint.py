"""A model's weights, located once: where they are, what their own files say, how they would be loaded. Nothing is loaded.

A wrong folder or a truncated download is found here, in milliseconds, before diffusers reads gigabytes. What was found
is handed on as a `Checkpoint`, so that nobody looks for the files again.
"""

import functools
import hashlib
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers.config.fields import Dtype
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import ModelError, near_miss
from strands_diffusers.jsonfile import read_json
from strands_diffusers.pipelines import devices

Stamp = tuple[tuple[str, int, int], ...]
"""Name, size and time [ns] of each file of a checkpoint: while it is the same, so is all that was found in the files."""

ASSET = "asset:"
HEADS = "action_heads.safetensors"
"""File beside a LoRA: rows `[1, ...]` of the transformer's action projections, by module; its metadata names the `domain_id`."""
ASSETS = Path(__file__).resolve().parents[1] / "assets"


@dataclass(frozen=True)
class Checkpoint:
    """Where the weights of a model are. Of a local folder, what its files say is read when it is asked for, and once."""

    model: ModelConfig
    """What asked for it."""

    place: Path | str
    """The local folder, which is whole, or a Hub id."""

    @property
    def local(self) -> bool:
        """Whether the files are on this machine."""
        return isinstance(self.place, Path)

    @functools.cached_property
    def stamp(self) -> Stamp:
        """Of a local folder; empty for one on the Hub."""
        return stamp(Path(self.place)) if self.local else ()

    @functools.cached_property
    def index(self) -> dict[str, Any]:
        """The `model_index.json` of a local folder; empty for one on the Hub. Raises: `ModelError` for a damaged folder."""
        return dict(_inspect(Path(self.place), self.stamp)) if self.local else {}

    @functools.cached_property
    def transformer(self) -> dict[str, Any]:
        """The transformer's `config.json`; empty where it is not here."""
        return self._config("transformer")

    @functools.cached_property
    def vae(self) -> dict[str, Any]:
        """The autoencoder's `config.json`; empty where it is not here."""
        return self._config("vae")

    def _config(self, component: str) -> dict[str, Any]:
        path = Path(self.place, component, "config.json")
        return _json(path, str(self.place)) if self.local and path.is_file() else {}

    @property
    def numbers(self) -> dict[str, int]:
        """How many numbers the weights of each component are, by the headers of the files that would be loaded.

        Components in another format than safetensors are left out; empty for a checkpoint on the Hub.
        """
        return dict(_numbers(Path(self.place), self.model.variant, self.stamp)) if self.local else {}

    @property
    def in_8_bits(self) -> bool:
        """Whether these are NVIDIA's 8-bit weights: a local checkpoint's config says so; on the Hub they are the branch `fp8`."""
        if not self.local:
            return self.model.revision == "fp8"
        quantisation = self.transformer.get("quantization_config")
        return isinstance(quantisation, dict) and quantisation.get("quant_method") == "modelopt"

    @property
    def device(self) -> str:
        """Where it would compute, as far as is known without importing torch for it: `auto` is then `cpu`."""
        unknown = self.model.device == "auto" and "torch" not in sys.modules
        return "cpu" if unknown or self.model.device == "cpu" else devices.resolve_device(self.model.device)

    def dtype_on(self, device: str) -> str:
        """In which precision on a device: `auto` is bfloat16 on CUDA and for the embedded model, else float32."""
        if self.model.dtype is not Dtype.auto:
            return str(self.model.dtype.value)
        return "bfloat16" if device.startswith("cuda") or self.model.repo.startswith(ASSET) else "float32"

    @property
    def fingerprint(self) -> str:
        """Revision (Hub) or content (local files) of the weights and of a LoRA, for a job's hash.

        Files that hold no weights or configuration (model cards) are left out.
        """
        model = self.model
        found = _content(self.place) or f"{self.place}@{model.revision or 'default'}:{model.variant or ''}"
        lora = model.lora.repo and _content(Path(model.lora.repo).expanduser())
        return f"{found}+{lora}" if lora else found

    def saved_class(self) -> str | None:
        """The pipeline class that the checkpoint was saved as, from the Hub where need be. Raises: `ModelError`."""
        if self.local:
            return self.index.get("_class_name")
        import logging

        from huggingface_hub import hf_hub_download

        hub = logging.getLogger("huggingface_hub")
        level = hub.level
        hub.setLevel(logging.ERROR)  # it announces each of its tries; one line at the end says the same
        try:
            path = hf_hub_download(str(self.place), "model_index.json", revision=self.model.revision)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"cannot reach {self.place} on the Hub ({type(error).__name__}). Give a local folder with model.repo=DIR."
            ) from error
        finally:
            hub.setLevel(level)
        return _json(Path(path), str(self.place)).get("_class_name")


def locate(config: ModelConfig) -> Checkpoint:
    """Find the weights that `model.repo` names; a local folder is checked file by file.

    Raises: `ModelError` with what to type instead.
    """
    repo = config.repo
    if repo.startswith(ASSET):
        folder = ASSETS / repo.removeprefix(ASSET)
        if not (folder / "model_index.json").is_file():
            names = sorted(p.parent.name for p in ASSETS.glob("*/model_index.json"))
            raise ModelError(
                f"model.repo={repo}: no such embedded model; there is asset:{', asset:'.join(names)}.{near_miss(folder.name, names)}"
            )
        return Checkpoint(config, folder)
    path = Path(repo).expanduser()
    if path.exists() or repo.startswith(("/", "./", "../", "~")):
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise ModelError(f"model.repo={path} {what}. Give the folder that holds model_index.json.")
        found = Checkpoint(config, path.resolve())
        _inspect(path.resolve(), found.stamp)
        folders = [part for part in path.iterdir() if part.is_dir()] if config.variant else []
        there = sorted({variant for folder in folders for variant in _weights(folder) if variant})
        if config.variant and config.variant not in there:
            raise ModelError(
                f"model.variant={config.variant}: {path} has no such weights. "
                f"Use model.variant={' or '.join([*there, 'null'])}."
            )
        return found
    if repo.count("/") != 1 or any(c.isspace() for c in repo):
        raise ModelError(f"model.repo={repo!r} is neither an existing folder nor a Hub id of the form OWNER/NAME.")
    return Checkpoint(config, repo)


@functools.lru_cache(maxsize=8)
def _inspect(folder: Path, _stamp: Stamp) -> dict[str, Any]:
    """Check a `save_pretrained` folder file by file and return its `model_index.json`."""
    index = _json(folder / "model_index.json", f"{folder} is not a diffusers checkpoint")
    for component, entry in index.items():
        if component.startswith("_") or not (isinstance(entry, list) and len(entry) == 2 and entry[0]):
            continue
        library, cls = entry
        sub = folder / component
        if not sub.is_dir():
            raise _broken(folder, f"incomplete: the folder {component}/ ({cls}) is missing")
        if library == "diffusers" and not cls.endswith("Scheduler"):
            _json(sub / "config.json", f"checkpoint {folder} is incomplete")
            _check_weights(sub, folder)
        elif cls.endswith("Scheduler"):
            _json(sub / "scheduler_config.json", f"checkpoint {folder} is incomplete")
    return index


def _json(path: Path, context: str) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{context}: {path.name} is missing in {path.parent}.")
    value = read_json(path, f"{context}: {path}", ModelError)
    if not isinstance(value, dict):
        raise ModelError(f"{context}: {path} holds no JSON object.")
    return value


def _broken(folder: Path, what: str) -> ModelError:
    return ModelError(f"checkpoint {folder} is {what}. Download it again.")


def _check_weights(folder: Path, checkpoint: Path) -> None:
    """Every weight file that an index names, or at least one, is there and as long as its header says."""
    files = sorted(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        shards = _json(index, str(checkpoint)).get("weight_map")
        for shard in sorted({str(shard) for shard in shards.values()} if isinstance(shards, dict) else {index.name}):
            if not (folder / shard).is_file():
                raise _broken(checkpoint, f"incomplete: {folder.name}/{shard} is missing")
    if not files and not list(folder.glob("*.bin")):
        raise _broken(checkpoint, f"incomplete: {folder.name}/ holds no weights")
    for file in files:
        if not _shapes(file):
            size = f"{file.stat().st_size:,} bytes and no valid header that fits them"
            raise _broken(checkpoint, f"damaged: {folder.name}/{file.name} has {size}")


@functools.lru_cache(maxsize=8)
def _numbers(folder: Path, variant: str | None, _stamp: Stamp) -> dict[str, int]:
    found = {}
    for part in sorted({(folder / name).parent for name, _, _ in _stamp if name.endswith(".safetensors")}):
        by_variant = _weights(part)
        files = by_variant.get(variant) or by_variant.get(None, [])
        found[part.name] = sum(math.prod(shape) for file in files for shape in _shapes(file))
    return found


def _weights(folder: Path) -> dict[str | None, list[Path]]:
    """The safetensors files of a component by variant: `fp16` of `model.fp16.safetensors` and of its shards."""
    found: dict[str | None, list[Path]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        name = re.fullmatch(r"[^.]+(?:\.([^.]+?))?(?:-\d+-of-\d+)?\.safetensors", file.name)
        found.setdefault(name[1] if name else None, []).append(file)
    return found


def _shapes(file: Path) -> list[list[int]]:
    """The shapes of a safetensors file's tensors, by its header; empty where it is damaged or cut short."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as tensors:
            return [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError):
        return []


def stamp(folder: Path) -> Stamp:
    """Names, sizes and times of the files in a folder, or of one file: changes whenever their content does."""
    return tuple(
        (str(p.relative_to(folder)), s.st_size, s.st_mtime_ns)
        for p in (sorted(folder.rglob("*")) if folder.is_dir() else [folder])
        if p.is_file() and (s := p.stat())
    )


@functools.lru_cache(maxsize=8)
def _fingerprint(folder: Path, _stamp: Stamp) -> str:
    digest = hashlib.sha256()
    for name, size, _ in _stamp:
        path = folder / name
        digest.update(f"{name}:{size}:".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(1 << 20))  # the header names every tensor; sizes and both ends tell weights apart
            if size > 2 << 20:
                stream.seek(-(1 << 20), 2)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def _content(place: Path | str) -> str | None:
    """The fingerprint of local files; None for what is on the Hub."""
    if isinstance(place, str) or not place.exists():
        return None
    ends = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model")
    return _fingerprint(place, tuple(entry for entry in stamp(place) if entry[0].endswith((*ends, "."))))
