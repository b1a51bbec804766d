"""The tiny family: the real classes of transformers at one or two million parameters, built in code.

Everything that a hub folder holds (weights, tokenizer, chat template, image processor) is made here, so
that tests, demos and documentation run the real code paths without a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from latentvr.data.processor import Processor

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.04,
}
VOCABULARY = 768


def build_tokenizer(phrases: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on `phrases`; the same phrases give the same tokenizer."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 64,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = list(phrases)
    # Each word as one token, at the start of a text and after a space; those of the chat template too.
    backend.train_from_iterator(["user", "assistant", *texts, *(f" {text}" for text in texts)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",  # noqa: S106 - a vocabulary entry
        pad_token="<|endoftext|>",  # noqa: S106 - a vocabulary entry
        additional_special_tokens=SPECIAL[1:],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=4096,
    )


def build_processor(phrases: Iterable[str], patch: int = 8) -> Processor:
    """Make tokenizer and image processor: `patch`-pixel patches, 2 x 2 merged, one frame."""
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=1,
        size={"shortest_edge": 16 * 16, "longest_edge": 256 * 256},
    )
    return Processor(build_tokenizer(phrases), image_processor)


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Map the config fields for special tokens to their ids in a tokenizer of this file."""
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}


def _end_ids(processor: Processor) -> dict[str, int | None]:
    """Ids that the text config wants; the stock defaults lie outside this small vocabulary."""
    tokenizer = processor.tokenizer
    return {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def qwen2_5_vl_config(processor: Processor, patch: int = 8) -> Any:
    """Config of `tiny-qwen2.5-vl`: vision 3 x 96 with full attention, language 4 x 128."""
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "vocab_size": VOCABULARY,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": True,
            **_end_ids(processor),
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "window_size": patch * 2 * 16,
            "fullatt_block_indexes": [0, 1, 2],
            "out_hidden_size": TEXT["hidden_size"],
            "tokens_per_second": 1,
            "initializer_range": 0.04,
        },
        tie_word_embeddings=True,
        **special_ids(processor.tokenizer),
    )


def qwen3_vl_config(processor: Processor, patch: int = 8) -> Any:
    """Config of `tiny-qwen3-vl`: vision 3 x 96 with deepstack from blocks 0 and 1, language 4 x 128."""
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig(
        text_config={
            **TEXT,
            "head_dim": 32,
            "vocab_size": VOCABULARY,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            **_end_ids(processor),
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "out_hidden_size": TEXT["hidden_size"],
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.04,
        },
        tie_word_embeddings=True,
        **special_ids(processor.tokenizer),
    )


def llava_onevision1_5_config(processor: Processor, patch: int = 8) -> Any:
    """Config of `tiny-llava-ov-1.5`: vision 3 x 96 with class tokens, language 4 x 128 with one axis."""
    from latentvr.models.llava_onevision1_5.configuration import LlavaOneVision15Config

    return LlavaOneVision15Config(
        text_config={
            **TEXT,
            "head_dim": 32,
            "vocab_size": VOCABULARY,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            **_end_ids(processor),
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": patch,
            "text_hidden_size": TEXT["hidden_size"],
            "initializer_range": 0.04,
        },
        tie_word_embeddings=True,
        **special_ids(processor.tokenizer),
    )


FAMILIES: dict[str, Callable[..., Any]] = {
    "tiny-qwen2.5-vl": qwen2_5_vl_config,
    "tiny-qwen3-vl": qwen3_vl_config,
    "tiny-llava-ov-1.5": llava_onevision1_5_config,
}


def build(name: str, phrases: Iterable[str], seed: int = 0) -> tuple[PreTrainedModel, Processor]:
    """Build a random model of a tiny family with its processor, in float32.

    Args:
        name: a key of `FAMILIES`.
        phrases: texts that the tokenizer is trained on.
        seed: seed of the weights; the global generator is left as it was.

    Returns:
        The stock model and its processor.
    """
    from transformers import AutoModelForImageTextToText

    from latentvr.models.llava_onevision1_5.registration import register

    register()
    processor = build_processor(phrases)
    config = FAMILIES[name](processor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor
