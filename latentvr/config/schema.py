"""The recipe: one closed tree of dataclasses. The text under a field is its only documentation.

Free of torch, so that `--help`, `explain` and `validate` start at once. Defaults are those of the
LIVR paper (arXiv 2512.21218, appendix B) unless a field says "not in the paper".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from latentvr.config.data_section import DataConfig as DataConfig
from latentvr.config.data_section import ToyConfig as ToyConfig
from latentvr.config.rl_section import RLConfig as RLConfig

Kernel = Literal["auto", "two_pass", "varlen", "mask", "flex"]
Precision = Literal["float32", "bfloat16", "float16"]
Trainable = Literal["lora", "language", "all", "tokens"]


@dataclass
class ReasonerConfig:
    """The latent-reasoning method; a method adds its own fields by subclassing."""

    #: Whether answers open latent spans, so that the settings of `decode` for them count.
    opens_spans: ClassVar[bool] = False

    @property
    def has_latents(self) -> bool:
        """Whether there are latents at all, in the prompt or in the answer."""
        return self.opens_spans

    @property
    def learns_noise(self) -> bool:
        """Whether the method learns the noise of its latents, and with it their likelihood."""
        return False

    @property
    def feeds_own_latents(self) -> str | None:
        """The field by whose value training feeds latents that the model predicts itself; None without."""
        return None

    def decode_problems(self, decode: DecodeConfig) -> list[str]:
        """Return what in `decode` this method cannot do, each as `field: sentence`."""
        del decode
        return []

    name: str = "direct"
    """Method name: a folder of `latentvr/reasoners` or an entry point of the group `latentvr.reasoners`."""


@dataclass
class LoraConfig:
    """Low-rank adapters on attention and MLP of the language model; the vision tower never has any."""

    r: int = 16
    """Rank."""
    alpha: int = 32
    """Scale numerator: updates are multiplied by alpha / r."""
    dropout: float = 0.05
    """Dropout before the adapter, in [0, 1)."""
    modules: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    """Names of the linear layers of the language model that get an adapter."""


@dataclass
class ModelConfig:
    """The backbone."""

    path: str = "Qwen/Qwen3-VL-4B-Instruct"
    """Local folder, hub id, a run folder or checkpoint of this library to go on from, or a built-in tiny
    model: `tiny-qwen2.5-vl`, `tiny-qwen3-vl`, `tiny-llava-ov-1.5` (random weights) or `tiny-backbone`
    (shipped, pretrained)."""
    revision: str | None = None
    """Hub revision (branch, tag or commit) to pin; not used for local folders."""
    dtype: Precision = "bfloat16"
    """Number format of the weights; adapters and latent rows train in float32."""
    attention: Kernel = "auto"
    """Attention kernel of the language model. `two_pass` (padded) and `varlen` (packed) need no mask matrix,
    `mask` is the reference, `flex` by request; a kernel that cannot honour a visibility refuses."""
    min_pixels: int | None = None
    """Smallest image area in pixels after resizing; null keeps the processor's own."""
    max_pixels: int | None = None
    """Largest image area in pixels after resizing; null keeps the processor's own. Not in the paper."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    vision_attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """Attention kernel of the vision tower; `auto` takes flash-attn where it is installed and the model lies
    in half precision on CUDA. A checkpoint answers with `auto` unless the key is set."""
    compile: bool = False
    """Compile the language model's feed-forward blocks and norms with torch.compile for training; the first
    steps then take longer, and with dropout a compiled run draws other numbers. Not in the paper."""
    pack: bool = False
    """For answering on a CPU in float32: reorder the weights of the language model for faster products. The
    last digits of results may change."""
    trust_remote_code: bool = False
    """Run code that comes with a hub model. Off unless you have read that code."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters; used where something trains with `trainable: lora`."""


@dataclass
class StageConfig:
    """One phase of training, with a learning-rate schedule of its own."""

    epochs: float = 1.0
    """Passes over the training data; 0 leaves the stage out."""
    steps: int | None = None
    """Optimiser steps; overrules `epochs`."""
    visibility: str = "causal"
    """What each token role may see: `causal`, `bottleneck`, `answer_only` or `bottleneck_blind_latents`."""
    trainable: Trainable | None = None
    """What trains in this stage; null means `optim.trainable`."""
    learning_rate: float | None = None
    """Peak learning rate of this stage; null means `optim.learning_rate`."""


@dataclass
class OptimConfig:
    """AdamW and its schedule."""

    trainable: Trainable = "lora"
    """`lora`: adapters and the new token rows; `language`: the whole language model and the rows; `all`: the
    whole model, vision tower and projector included; `tokens`: the rows alone (prompt tuning)."""
    learning_rate: float = 1e-4
    """Peak learning rate."""
    token_learning_rate: float | None = None
    """Peak learning rate of the new token rows; null means the same. Not in the paper."""
    weight_decay: float = 0.01
    """Decoupled weight decay on matrices; biases, norms and token rows are not decayed."""
    beta1: float = 0.9
    """First-moment decay of AdamW."""
    beta2: float = 0.999
    """Second-moment decay of AdamW."""
    eps: float = 1e-8
    """AdamW's epsilon."""
    warmup: float = 0.05
    """Share of each stage's steps with a linearly rising learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up; fresh in each stage."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 does not clip. Not in the paper."""


@dataclass
class TrainConfig:
    """The run."""

    output_dir: str = "runs/default"
    """Run folder; it must be empty, or be continued with `--resume`."""
    seed: int = 42
    """Seed of weights, order and dropout."""
    batch_size: int = 1
    """Samples per device and forward pass."""
    gradient_accumulation: int = 8
    """Forward passes per optimiser step; the loss is averaged over all their answer tokens."""
    save_steps: int = 0
    """Optimiser steps between checkpoints; 0 saves at each epoch's end. A stage's end always saves."""
    save_limit: int = 2
    """Complete checkpoints kept besides the best one."""
    validate_epochs: int = 1
    """Epochs between validations of the last stage; 0 never validates."""
    keep: Literal["best", "last"] = "best"
    """Which checkpoint the run gives: the one best on validation in the last stage, or the last one."""
    deterministic: bool = False
    """On CUDA, use deterministic kernels, at a price in speed; on a CPU equal runs give equal bits anyway."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run; `auto` takes CUDA where there is any."""
    deepspeed: str | None = None
    """DeepSpeed settings, such as `launchers/deepspeed/zero2.json` (found from any folder), which split the
    optimiser and perhaps the weights over the processes of a launch; null keeps whole copies in each."""


@dataclass
class DecodeConfig:
    """How answers are generated."""

    max_new_tokens: int = 32
    """Longest answer in tokens, latent slots included."""
    visibility: str = "causal"
    """Visibility at test; `bottleneck` shows the image through the latents alone (strict decoding)."""
    latent_steps: int = 8
    """Hidden states fed back in each latent span (the papers try 4, 8 and 16); with another `exit` than
    `steps`, the most of them. Only for methods that open latent spans in their answers."""
    exit: Literal["steps", "end_vector", "switch_token"] = "steps"
    """When a latent span ends: after `latent_steps`; when the hidden state comes near the learned end vector;
    or when the head would write the closing marker."""
    end_distance: Literal["mse", "mae", "cosine"] = "mse"
    """Distance to the end vector for `exit: end_vector`; `cosine` is 1 minus the cosine."""
    end_threshold: float = 0.02
    """The span ends below this distance."""
    force_end: bool = True
    """Write the closing marker when a latent span ends, instead of waiting for the model to write it."""
    suppress: bool = True
    """Never write image, video and slot tokens. `false` only repeats figures of code that writes them."""
    do_sample: bool = False
    """Draw tokens by their probability; otherwise the likeliest is taken."""
    temperature: float = 1.0
    """Logits are divided by it before drawing."""
    top_k: int = 0
    """Draw from the k likeliest tokens; 0 from all."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    min_p: float = 0.0
    """Draw from tokens with at least this share of the likeliest one's probability."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that were written before become less likely; latent slots are no tokens."""
    stop_strings: list[str] = field(default_factory=list)
    """An answer ends when it contains one of these texts."""
    cache: Literal["dynamic", "static"] = "dynamic"
    """Key-value cache: one that grows, or one of full length from the start (for compiled decoding)."""
    seed: int = 42
    """Seed of drawing."""


@dataclass
class EvalConfig:
    """Evaluation."""

    batch_size: int = 8
    """Samples per forward pass."""
    split: Literal["validation", "test"] = "test"
    """Which split `latentvr eval` takes from the recipe."""


@dataclass
class LogConfig:
    """Logs; `metrics.jsonl` in the run folder is always written."""

    every: int = 10
    """Optimiser steps between log lines."""
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = field(default_factory=list)
    """Further trackers, none by default."""
    samples: bool = False
    """Write the sample ids of each logged step to `metrics.jsonl`."""
    progress: bool = True
    """Show a progress bar on a terminal."""


@dataclass
class Recipe:
    """All settings of a run."""

    reasoner: ReasonerConfig = field(default_factory=ReasonerConfig)
    """The method and its options."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The backbone."""
    data: DataConfig = field(default_factory=DataConfig)
    """Samples."""
    stages: dict[str, StageConfig] = field(default_factory=dict)
    """Phases of training by name, in order; empty takes the method's own."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Run."""
    rl: RLConfig = field(default_factory=RLConfig)
    """Reinforcement; used by `latentvr rl` alone."""
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    """Generation."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    """Evaluation."""
    log: LogConfig = field(default_factory=LogConfig)
    """Logs."""
