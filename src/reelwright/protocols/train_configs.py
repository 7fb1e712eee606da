"""What `train` may be told, whatever the family: one group for each question. No torch here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from reelwright.protocols.configs import AutoencodingConfig, DeviceConfig
from reelwright.protocols.policy_configs import KernelConfig, TextWeights

_FORBID_UNKNOWN = {"extra": "forbid"}

Method = Literal["lora", "loha", "lokr", "full"]
Share = Annotated[float, Ge(0.0), Le(1.0)]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which modules get an adapter, and of what size. For the methods lora, loha and lokr."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    rank: Annotated[int, Ge(1)] = 16
    """Size of the adapter: how much it can learn, and how large its file is."""
    alpha: Annotated[float, Ge(0.0)] = 0.0
    """The change is multiplied by alpha / rank; 0 takes the rank, that is 1."""
    targets: Literal["usual", "attention", "all"] = "usual"
    """Which modules: those that peers train (usual), queries, keys, values and outputs of attention, or every
    linear layer of the blocks."""
    include: tuple[str, ...] = ()
    """Regular expressions of module names to train beside those of `targets`."""
    exclude: tuple[str, ...] = ()
    """Regular expressions of module names that are left alone, whatever `targets` says; what `include` names
    is trained all the same."""
    rank_pattern: tuple[str, ...] = ()
    """PATTERN=RANK, the pattern a regular expression of module names; the first that fits holds."""
    alpha_pattern: tuple[str, ...] = ()
    """PATTERN=ALPHA."""
    dropout: Share = 0.0
    """How often a value between the two matrices is dropped."""
    rank_dropout: Share = 0.0
    """How often a rank is dropped; the others are strengthened accordingly."""
    module_dropout: Share = 0.0
    """How often a whole adapter is left out of a step."""
    up_rate: Annotated[float, Gt(0.0)] = 1.0
    """LoRA+: the up matrix learns so many times as fast."""
    factor: Annotated[int, Ge(-1)] = -1
    """LoKr: the side of the smaller matrix; -1 takes the one nearest to a square root."""
    weights: Path | None = None
    """Start from this file rather than from nothing, in any layout."""
    rank_from_weights: bool = False
    """Take rank, alpha and modules from `weights`."""
    base_weights: tuple[Path, ...] = ()
    """Adapters merged into the model before training; they are no part of what is saved."""
    base_weights_multiplier: tuple[float, ...] = ()
    """How strongly each of `base_weights` is merged; the last one holds for those that follow."""
    max_norm: Annotated[float, Ge(0.0)] = 0.0
    """After each step, scale down what an adapter adds to a weight to at most this norm; 0 never."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What turns gradients into changes."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    name: str = "adamw"
    """adamw, adamw8bit, adafactor, prodigy, adamw_schedulefree, came, muon, lion, sgd, or the dotted path of
    any class."""
    learning_rate: Annotated[float, Ge(0.0)] = 1e-4
    """Of most parameters at the height of the schedule."""
    arguments: tuple[str, ...] = ()
    """NAME=VALUE: what else the optimizer takes, as weight_decay=0.01 or betas=(0.9,0.99)."""
    max_grad_norm: Annotated[float, Ge(0.0)] = 1.0
    """Gradients are scaled down to this norm; 0 never."""


ScheduleName = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
    "piecewise_constant",
    "adafactor",
    "rex",
]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    name: ScheduleName = "constant"
    """Its course after the warm-up."""
    path: str = ""
    """The dotted path of a scheduler class instead of `name`."""
    arguments: tuple[str, ...] = ()
    """NAME=VALUE: what the class of `path`, or a piecewise_constant schedule (step_rules), takes."""
    warmup: Annotated[float, Ge(0.0)] = 0.0
    """Steps of warm-up; below 1 it is a share of all steps."""
    decay: Annotated[float, Ge(0.0)] = 0.0
    """Steps of decay at the end, for warmup_stable_decay; below 1 a share."""
    cycles: Annotated[float, Gt(0.0)] = 1.0
    """Restarts of a cosine, or its waves."""
    power: float = 1.0
    """Of a polynomial."""
    timescale: Annotated[int, Ge(0)] = 0
    """Of inverse_sqrt; 0 takes the warm-up."""
    min_rate: Share = 0.0
    """Where cosine_with_min_lr, polynomial, warmup_stable_decay and rex end, as a share of the learning
    rate."""


@dataclass(frozen=True, kw_only=True)
class CurriculumStage:
    """One stretch of a training. What it leaves open is as the run says."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    name: str = ""
    """For messages and metrics; without one it is called after its place: 1, 2, ..."""
    dataset: Path | None = None
    """A file of data sets with caches of their own, of another size or length; none takes that of the run."""
    steps: Annotated[int, Ge(1)]
    """Steps of this stage."""
    batch_size: Annotated[int, Ge(0)] = 0
    """Items of a batch; 0 takes those of the data sets."""
    accumulation: Annotated[int, Ge(0)] = 0
    """Batches of each process that make one step; 0 takes that of the run."""
    size: str = ""
    """WIDTHxHEIGHT in pixels: learn from items of this size alone. Empty takes all."""
    num_frames: Annotated[int, Ge(0)] = 0
    """Learn from clips of so many frames alone, where caches tell them apart; 0 takes all."""
    min_score: float | None = None
    """Learn from clips whose score is at least this."""
    best: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Learn from this share of the clips, those with the highest scores."""
    learning_rate: Annotated[float, Ge(0.0)] = 0.0
    """At the height of the schedule; 0 takes that of the run."""
    schedule: Literal["auto"] | ScheduleName = "auto"
    """How the learning rate changes over the steps of this stage; auto takes the course of the run, anew."""
    warmup: Annotated[float, Ge(-1.0)] = -1.0
    """Steps of warm-up in this stage, below 1 a share of them; -1 takes that of the run's schedule."""
    optimizer: Literal["keep", "reset"] = "keep"
    """Keep what the optimizer remembers of the stage before, or begin without."""
    positions: Literal["auto", "extrapolated", "interpolated"] = "auto"
    """Of tokens, at a size other than the model's own: counted on beyond it (extrapolated), or spread over
    the range of its own size (interpolated). auto does as the run says, or as the model was trained last."""


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """A running average of the weights, saved beside them."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    decay: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """How much of the average stays at each step, 0.999 say; 0 keeps none."""
    warmup: bool = True
    """Begin with a shorter memory: at most (1 + step) / (10 + step) stays."""
    every: Annotated[int, Ge(1)] = 1
    """Steps between updates."""
    sample: bool = True
    """Validation and samples show the average."""


@dataclass(frozen=True, kw_only=True)
class SavingConfig:
    """When weights and states are written, and which stay. States hold all that resuming needs."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    folder: Path | None = None
    """Where saved weights go; else the run's own folder."""
    every_steps: Annotated[int, Ge(0)] = 0
    """Save the weights every so many steps; 0 never."""
    every_epochs: Annotated[int, Ge(0)] = 0
    """Save the weights every so many epochs; 0 never."""
    keep_steps: Annotated[int, Ge(0)] = 0
    """Remove weights saved by step so many steps after; 0 keeps all."""
    keep_epochs: Annotated[int, Ge(0)] = 0
    """Keep only so many of the weights saved by epoch; 0 keeps all."""
    state_every_steps: Annotated[int, Ge(0)] = 100
    """Write the state every so many steps; 0 never."""
    state_every_minutes: Annotated[float, Ge(0.0)] = 10.0
    """Write the state if the last one is so old; 0 never."""
    state_with_weights: bool = False
    """Write the state whenever weights are saved."""
    state_at_end: bool = True
    """Write the state at the end, so that a run can be prolonged."""
    keep_states: Annotated[int, Ge(1)] = 2
    """How many states stay: the last one, and those before it in case it is damaged."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of saved adapters. Full models are saved in the released one unless this is set lower."""
    layout: Literal["auto", "native", "diffusers", "peft"] = "auto"
    """Names in files of adapters: those of kohya's trainers (native), diffusers or PEFT; auto takes what this
    model's users expect."""
    metadata: bool = True
    """Write how it was trained into files of adapters; without it, only what loading needs."""
    comment: str = ""
    """Free text for the metadata."""
    title: str = ""
    """For the metadata that model sites read; empty takes the name."""
    author: str = ""
    """For that metadata."""
    description: str = ""
    """For that metadata."""
    license: str = ""
    """For that metadata."""
    tags: str = ""
    """For that metadata, with commas between."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """The loss on clips that are not trained on, with the same noise each time."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    dataset: Path | None = None
    """A file of data sets with caches of their own; none leaves validation out."""
    every_steps: Annotated[int, Ge(0)] = 100
    """0 never."""
    every_epochs: Annotated[int, Ge(0)] = 0
    """0 never."""
    num_items: Annotated[int, Ge(0)] = 0
    """At most so many; 0 takes all."""
    levels: tuple[Annotated[float, Ge(0.0), Le(1.0)], ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """Noise levels at which each clip is judged: 0 is clean, 1 is noise."""
    at_start: bool = True
    """Also before the first step."""


@dataclass(frozen=True, kw_only=True)
class SamplesConfig:
    """Clips made while training goes on; families add what they need."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    prompts: Path | None = None
    """A file of prompts (.txt, .toml, .json); none makes no clips."""
    every_steps: Annotated[int, Ge(0)] = 0
    """0 never."""
    every_epochs: Annotated[int, Ge(0)] = 0
    """0 never."""
    at_start: bool = True
    """Also before the first step: what the model makes without training."""
    seed: Annotated[int, Ge(0)] = 0
    """Of prompts that say none: the same at every step."""
    beside: bool = True
    """Put the clip of the untrained model above each clip, in one picture."""


@dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """Clips and images of different size in one sequence, each of which attends to itself alone."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    tokens: Annotated[int, Ge(0)] = 0
    """At most so many tokens, of text and video, make a batch, whatever their sizes; the data sets'
    batch_size does not count then. 0 batches clips of one size."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """What is told of the run; metrics.jsonl in its folder always is."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Programs that show curves."""
    folder: Path | None = None
    """Where TensorBoard's files go; else logs in the run folder."""
    prefix: str = ""
    """Before the name of the folder of this run's logs."""
    project: str = "reelwright"
    """How trackers call what runs have in common."""
    run_name: str = ""
    """How wandb calls this run."""
    wandb_key: str = ""
    """For wandb; better set WANDB_API_KEY. It is never stored."""
    arguments: Path | None = None
    """A TOML file with a table for each tracker: what it takes at its start."""
    log_config: bool = False
    """Tell trackers the configuration, without paths and keys."""
    alarm_factor: Annotated[float, Ge(0.0)] = 4.0
    """Warn when the loss is so many times its lowest average; 0 never."""


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """Where on the hub saved weights go too."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    repository: str = ""
    """owner/name; it is made, private, if it is not there. Empty uploads nothing."""
    kind: Literal["model", "dataset", "space"] = "model"
    """Of the repository."""
    folder: str = ""
    """In the repository."""
    public: bool = False
    """Make a new repository public."""
    token: str = ""
    """Better log in with `hf auth login`, or set HF_TOKEN. It is never stored."""
    states: bool = False
    """Upload states too."""
    in_background: bool = False
    """Go on training while files are uploaded; the last one is always waited for."""


@dataclass(frozen=True, kw_only=True)
class LearningExecutionConfig(DeviceConfig):
    """How training runs, whatever is trained; never what it computes."""

    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """In which format layers compute; auto takes what `accelerate launch` says, else bf16 on a GPU that has
    it and none on a processor."""
    num_workers: Annotated[int, Ge(0)] = 2
    """Threads that read data."""
    num_threads: Annotated[int, Ge(0)] = 0
    """Of the processor, for each process; 0 leaves the choice to torch."""
    process_timeout: Annotated[int, Ge(0)] = 0
    """Minutes after which several processes give up waiting for each other; 0 leaves the choice to torch."""
    allow_tf32: bool = False
    """Let a GPU round the factors of float32 products to 10 bits: faster where float32 is computed in."""
    cudnn_benchmark: bool = False
    """Let cuDNN try its ways to convolve and keep the fastest: faster where sizes do not change, and no more
    the same bytes each time."""


@dataclass(frozen=True, kw_only=True)
class TrainExecutionConfig(LearningExecutionConfig, AutoencodingConfig, KernelConfig):
    """How training a denoiser runs; never what it computes."""

    fp8: bool = False
    """Hold the weights of the blocks in fp8, scaled block by block, and compute in `dtype`; for adapters."""
    text_weights: TextWeights = "full"
    """How the weights of the large text encoder are held, which reads the prompts of samples."""
    activation_checkpoint: bool = False
    """Compute activations again in the backward pass instead of keeping them: far less memory, a third more
    time."""
    activation_offload: bool = False
    """Keep what checkpoints need in the computer's memory instead of the GPU's."""
    block_swap: Annotated[int, Ge(0)] = 0
    """Blocks whose weights wait in the computer's memory until they are needed; all but two can. For
    adapters."""


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """What every training may be told, whatever it trains."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    model: str = "tiny"
    """A variant's name, a folder in the diffusers layout, or a hub id such as owner/name."""
    offline: bool = False
    """Never use the network; models must be on disk."""
    steps: Annotated[int, Ge(1)] = 1600
    """Steps in all."""
    accumulation: Annotated[int, Ge(1)] = 1
    """Batches of each process that make one step."""
    seed: Annotated[int, Ge(-1), Le(2**63 - 1)] = -1
    """Where all chance starts: order, noise, dropout. -1 draws one and records it."""
    name: str = "trained"
    """Of the files that are saved."""
    out: Path = Path("outputs")
    """Folder in which the run's own folder is made."""
    run: Path | None = None
    """The run's own folder, instead of a new one under `out`."""
    state: Path | None = None
    """Go on from this state, or from the last one of this run folder, in a new run; `reelwright resume RUN`
    goes on in the same one."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    saving: SavingConfig = field(default_factory=SavingConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    hub: HubConfig = field(default_factory=HubConfig)
    execution: LearningExecutionConfig = field(default_factory=LearningExecutionConfig)

    @property
    def may_idle(self) -> bool:
        """Whether parameters that learn may have no part in some steps."""
        return True


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LearningConfig):
    """Fine-tune a denoiser on cached data sets; families add their objective."""

    stage: Literal["denoiser"] = "denoiser"
    """What is trained: the denoiser, or, with keys of its own, the autoencoder."""
    dit: Path | None = None
    """A single file with the transformer instead of the model's own."""
    vae: Path | None = None
    """A single file with the autoencoder instead of the model's own."""
    text_encoder: Path | None = None
    """A single file or folder with the text encoder instead of the model's own."""
    tokenizer: Path | None = None
    """A folder with the tokenizer instead of the model's own."""
    dataset: Path | None = None
    """The file of data sets whose caches are trained on."""

    method: Method = "lora"
    """What learns: an adapter of low rank (lora, loha, lokr), or the whole denoiser (full)."""
    init: Literal["weights", "random", "widened"] = "weights"
    """Where the denoiser starts, with method full: from the model's weights; from nothing, with weights drawn
    from the seed (random); or from the weights of a text-to-video model that is to read an image, a control
    clip or a mask as well (widened)."""
    init_config: Path | None = None
    """For random: the config.json, or a folder with one, that says how large the transformer is. Without it
    the sizes are those of `model` or `dit`, whose weights are not needed."""
    epochs: Annotated[int, Ge(0)] = 0
    """Passes over the data in all, which goes over `steps`; 0 is unset."""

    show_timesteps: Literal["no", "console", "image"] = "no"
    """Only show how often each noise level would be drawn, as text or as a picture; nothing is trained."""

    curriculum: tuple[CurriculumStage, ...] = ()
    """Stages, each from the weights of the one before, as [[curriculum]] tables of a recipe; flags change
    them by place: --curriculum.0.steps. They add up to `steps`."""

    packing: PackingConfig = field(default_factory=PackingConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    execution: TrainExecutionConfig = field(default_factory=TrainExecutionConfig)

    @property
    def may_idle(self) -> bool:
        # Modules outside of the blocks, as those for frames of history, may have nothing to do in a step.
        return self.method == "full" or bool(self.adapter.include)
