"""What each task is called, the captions the pipeline makes of that, and the tokenizer that reads them.

A caption in action mode is JSON around the description (`Cosmos3OmniPipeline._build_action_json_prompt`). That
boilerplate is the same every time, so its pieces are added tokens: 32 tokens instead of 98, and the words that differ
are easy to find.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import Cosmos3OmniPipeline
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import _ACTION_VIEWPOINT_TEMPLATES
from strands_diffusers_training.parallel import Ranks
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from .data import ALL_TASKS

WORDINGS: dict[str, tuple[str, ...]] = {
    "free": (
        "Move the pusher around freely.",
        "Move around freely.",
        "Move the pusher around.",
        "Wander over the table.",
    ),
    "poke": (
        "Poke the T block.",
        "Touch the T block.",
        "Nudge the T block from some side.",
        "Stroke past the T block.",
    ),
    "goal": (
        "Push the T block to the goal.",
        "Push the T to the goal.",
        "Push the T block onto the green target.",
        "Move the T block to the target.",
        "Bring the T to the green goal.",
        "Push the block into the goal zone.",
        "Slide the T block onto the goal.",
    ),
}
_DIRECTED = (
    "Push the T block {to}.",
    "Push the T {to}.",
    "Move the T block {way}.",
    "Push the block {way}.",
    "Slide the T block {to}.",
    "Move the T {to}.",
    "Push the T-shaped block {to}.",
    "Please push the T block {way}.",
    "Push {way}.",
    "Shove the T {way}.",
)
_WAYS = {
    "left": (("to the left", "left"), ("leftwards", "leftward")),
    "right": (("to the right", "right"), ("rightwards", "rightward")),
    "up": (("up", "up"), ("upwards", "upward"), ("to the top", "to the top")),
    "down": (("down", "down"), ("downwards", "downward"), ("to the bottom", "to the bottom")),
}
WORDINGS |= {
    task: tuple(dict.fromkeys(p.format(to=to, way=way) for p in _DIRECTED for to, way in ways))
    for task, ways in _WAYS.items()
}
"""Wordings a model is trained on. The first of each is the one to use."""

CHUNKS = (16, 8, 4)
"""Numbers of actions that a model is asked for; a caption says how long they take."""

VIEWS = ("ego_view", "third_person_view")
"""Viewpoints in training captions; the first is `CosmosActionCondition`'s own default."""

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
_BOILERPLATE = (
    '{"cinematography": {"framing": "',
    '"}, "actions": [{"time": "',
    '{"actions": [{"time": "',
    '", "description": "',
    '"}], "duration": "',
    '", "fps": ',
    ', "resolution": {"H": ',
    ', "W": ',
    '}, "aspect_ratio": "',
    "<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n",
    "0:00-0:0",
    "The video is ",
    "The video is not ",
    " seconds long and is of ",
    " seconds long and is not of ",
    " FPS. This video is of ",
    " FPS. This video is not of ",
    "96x96 resolution.",
    *_ACTION_VIEWPOINT_TEMPLATES.values(),
)


def action_caption(text: str, view: str = VIEWS[0], chunk: int = CHUNKS[0]) -> str:
    """The JSON that the pipeline sends in an action mode for `chunk` actions at 10 fps."""
    return Cosmos3OmniPipeline._build_action_json_prompt(
        text, view_point=view, num_frames=chunk + 1, fps=10.0, height=256, width=256
    )


def video_caption(text: str, negative: bool = False) -> str:
    """The sentence that the pipeline sends without an action, for 17 frames of 96 x 96 at 10 fps."""
    no = " not" if negative else ""
    facts = f"The video is{no} 1.7 seconds long and is{no} of 10 FPS. This video is{no} of 96x96 resolution."
    return f"{text.rstrip('.')}. {facts}" if text else facts


def build_tokenizer(directory: Path, vocabulary: int = 768) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the captions, add the boilerplate tokens, save. Any text can be encoded."""
    every = [text for group in WORDINGS.values() for text in group]
    corpus = [
        *(action_caption(text, view) for text in every for view in _ACTION_VIEWPOINT_TEMPLATES),
        *(video_caption(text, negative) for text in every for negative in (False, True)),
        *(str(i) for i in range(1000)),
        "system user assistant\n user\n assistant\n system\n",
    ]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    size = vocabulary - len(_BOILERPLATE)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_SPECIAL),
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _TEMPLATE
    tokenizer.add_tokens([AddedToken(piece, special=False, normalized=False) for piece in _BOILERPLATE])
    assert len(tokenizer) <= vocabulary
    tokenizer.save_pretrained(directory)
    return tokenizer


def load_tokenizer(work: Path, ranks: Ranks) -> PreTrainedTokenizerFast:
    """The tokenizer of a work folder; the first rank builds it where there is none yet."""
    if ranks.first and not (work / "tokenizer").exists():
        build_tokenizer(work / "tokenizer")
    ranks.agree(0.0)
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(work / "tokenizer")
    return tokenizer


def token_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Token ids as `Cosmos3OmniPipeline.tokenize_prompt` makes them, with the two tokens it appends."""
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=True, add_generation_prompt=True, return_dict=True
    ).input_ids
    return [*ids, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|vision_start|>")]


class Captions:
    """Every caption of training, tokenised once. Row 0 is the empty prompt, 1 the negative of text-conditioned video.

    Shapes: `ids` int64 [P, L], right-padded with 0; `lengths` int64 [P]. `action[chunk][task]` and `video[task]` are the rows
    of a task's wordings, in the order of CHUNKS and ALL_TASKS; the same wording has the same place for every chunk.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, wordings: dict[str, tuple[str, ...]] = WORDINGS) -> None:
        texts = ["", video_caption("", negative=True)]
        self.action: list[list[list[int]]] = [[] for _ in CHUNKS]
        self.video: list[list[int]] = []
        for task in ALL_TASKS:
            group = wordings[task]
            for chunk, rows in zip(CHUNKS, self.action, strict=True):
                # The first view is listed three times: it is the one nearly everyone uses.
                first = [len(texts) + len(VIEWS) * i for i in range(len(group))]
                rows.append([row for i in first for row in (i, i, i, i + 1)])
                texts += [action_caption(text, view, chunk) for text in group for view in VIEWS]
            self.video.append(list(range(len(texts), len(texts) + len(group))))
            texts += [video_caption(text) for text in group]
        tokens = [token_ids(tokenizer, text) for text in texts]
        self.lengths = torch.tensor([len(row) for row in tokens])
        self.ids = torch.zeros(len(tokens), int(self.lengths.max()), dtype=torch.long)
        for i, row in enumerate(tokens):
            self.ids[i, : len(row)] = torch.tensor(row)
