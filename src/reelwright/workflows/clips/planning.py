"""Which clips a run makes: every prompt with every seed, or the one whose latents were saved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from reelwright import __version__, families
from reelwright.checkpoint.latent_files import read_latents
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.errors import CheckpointError, ConfigError, FileError
from reelwright.core.paths import sha256_of
from reelwright.core.prompt_lines import PromptLine, read_prompt_file
from reelwright.core.provenance import METADATA_KEY, Provenance, library_versions
from reelwright.protocols.configs import AutoencodingConfig, ExecutionConfig, GenerateConfig
from reelwright.protocols.family import Family, Model, Request
from reelwright.protocols.policy_configs import without_placement
from reelwright.workflows.adapter_origin import locate
from reelwright.workflows.clips.problems import Problems

_NOT_RECORDED = {
    "out",
    "run",
    "from_file",
    "from_latent",
    "num_videos",
    "preview_every",
    "contact_sheet",
    "preview_sections",
    "offline",
}
"""Fields that decide nothing in the bytes of a clip."""
_BULK_DECODE = "bulk_decode"
"""A field that saved latents may be seen with differently than the clip was made."""
_WHERE_MODELS_ARE = (
    *("model", "dit", "vae", "lora", "text_encoder", "text_encoder_2"),
    *("image_encoder", "tokenizer", "tokenizer_2"),
)


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """One clip, decided; `request` is None where its latents are on disk."""

    family: str
    config: GenerateConfig
    record: str
    """How it is made, as text that tells it from all other clips; empty if nobody knows."""
    request: Request | None = None
    latents: Path | None = None

    def told(self, shortcuts: Sequence[str]) -> str:
        """The record with what was left out or rounded; empty if nobody knows how the clip is made."""
        if not self.record:
            return ""
        record = Provenance.from_json(self.record, "record")
        return replace(record, shortcuts=tuple(shortcuts)).to_json()


@dataclass(frozen=True, kw_only=True)
class Plan:
    family: Family
    model: Model
    clips: Sequence[PlannedClip]
    notices: Sequence[str]
    failures: Sequence[str] = ()
    """Lines of a file of prompts of which no clip can be made, and why."""


def plan_generation(family: Family, config: GenerateConfig, record: Provenance | None = None) -> Plan:
    """Find the checkpoint, read all inputs and decide every clip; nothing is loaded.

    `record` is that of a clip to be made again. Raises UserError with everything that is wrong; but of a file
    of prompts with good lines too, the bad ones are the plan's failures, unless the configuration is strict.
    """
    problems, remarks = Problems(), list[str]()
    asked = list(_each_prompt_and_seed(family, config, problems, remarks))
    if not asked:
        problems.raise_all()
    model = locate(family, config)
    requests = _resolve_all(family, model, asked, problems)
    if not requests or config.strict or config.from_file is None:
        problems.raise_all()
    return _plan(family, model, requests, [*remarks, *model.notices], problems.lines, record)


def plan_line(family: Family, model: Model, config: GenerateConfig, line: PromptLine, origin: str) -> Plan:
    """Decide the clips of one more prompt, over the configuration of the run. Raises UserError."""
    problems = Problems()
    with problems.of(origin):
        wanted = with_line(config, line, origin)
        requests = _resolve_all(family, model, [(origin, each) for each in _each_seed(wanted)], problems)
    problems.raise_all()
    return _plan(family, model, requests, [f"{origin}: {said}" for said in line.notices])


def with_line(config: GenerateConfig, line: PromptLine, origin: str) -> GenerateConfig:
    """The configuration of a run as one line of prompts changes it. Raises ConfigError."""
    values = {**line.overrides, "prompt": line.prompt}
    if values.get("seed") == -1:
        del values["seed"]  # left open: the run's, which is drawn once and stored
    return from_mapping(type(config), values, origin, config)


def record_of(family: Family, model: Model, config: GenerateConfig, workflow: str = "generate") -> Provenance:
    """How a clip is made of a resolved configuration."""
    return Provenance(
        version=__version__,
        workflow=workflow,
        family=family.name,
        config=_recorded(config),
        models=dict(model.fingerprints),
        inputs={
            name: {"path": str(path), "sha256": sha256_of(path)}
            for name, path in {**family.inputs(config), **_measured_ratios(config)}.items()
        },
        versions=library_versions(),
    )


def _measured_ratios(config: GenerateConfig) -> dict[str, Path]:
    path = config.execution.step_cache_ratios
    return {} if path is None else {"step_cache_ratios": path}


def plan_decoding(family: Family, config: GenerateConfig) -> Plan:
    """Show saved latents again: with the model that made them, and with the output options of `config`."""
    assert config.from_latent is not None
    path = config.from_latent
    if config.format == "latent":
        raise ConfigError("format: from_latent has its latents already. Choose --format mp4 or png.")
    with open_tensors(path) as source:
        text = source.metadata.get(METADATA_KEY)
    record = None if text is None else Provenance.from_json(text, str(path))
    if record is not None:
        if record.family != family.name:
            raise ConfigError(
                f"from_latent: {path} was made by {record.family}. Run reelwright generate {record.family}."
            )
        config = _output_options(from_mapping(type(config), record.config, str(path)), config)
    model = locate(family, config)
    if record is not None:
        record = replace(record, config=_recorded(config))
        located = {part: name for part, name in record.models.items() if part in model.fingerprints}
        _check_same_models(located, model.fingerprints)
    read_latents(path)  # raises for what cannot be decoded
    known = record.to_json() if record else ""
    clip = PlannedClip(family=family.name, config=config, record=known, latents=path)
    return Plan(family=family, model=model, clips=[clip], notices=list(model.notices))


def _resolve_all(
    family: Family, model: Model, asked: Sequence[tuple[str, GenerateConfig]], problems: Problems
) -> list[Request]:
    requests: list[Request] = []
    for origin, wanted in asked:
        with problems.of(origin):
            requests.append(family.resolve(wanted, model))
    return requests


def _plan(
    family: Family,
    model: Model,
    requests: Sequence[Request],
    notices: Sequence[str],
    failures: Sequence[str] = (),
    record: Provenance | None = None,
) -> Plan:
    made = [record_of(family, model, request.config) for request in requests]
    notices = [*notices, *(notice for request in requests for notice in request.notices)]
    if record is not None:
        _check_same(record, made[0])
        notices += _version_notices(record, made[0])
        made = [replace(made[0], config=record.config, inputs=record.inputs)]
    clips = [
        PlannedClip(family=family.name, config=request.config, record=provenance.to_json(), request=request)
        for request, provenance in zip(requests, made, strict=True)
    ]
    return Plan(
        family=family, model=model, clips=clips, notices=list(dict.fromkeys(notices)), failures=failures
    )


def _each_prompt_and_seed(
    family: Family, config: GenerateConfig, problems: Problems, remarks: list[str]
) -> Iterator[tuple[str, GenerateConfig]]:
    """Every clip asked for, with where it was asked for."""
    for origin, wanted in _each_prompt(family, config, problems, remarks):
        for each in _each_seed(wanted):
            yield origin, each


def _each_seed(config: GenerateConfig) -> Iterator[GenerateConfig]:
    """The clips of one prompt; seeds count up from its own."""
    return (replace(config, seed=config.seed + number) for number in range(config.num_videos))


def _each_prompt(
    family: Family, config: GenerateConfig, problems: Problems, remarks: list[str]
) -> Iterator[tuple[str, GenerateConfig]]:
    if config.from_file is None:
        yield "", config
        return
    if config.prompt:
        raise ConfigError("prompt: there are prompts in from_file too. Give one or the other.")
    file = read_prompt_file(config.from_file, families.configs(family.name).PROMPT_OPTIONS)
    for said in file.problems:
        problems.add(ConfigError(said))
    for line in file.lines:
        origin = f"{config.from_file}: line {line.line}"
        remarks += [f"{origin}: {said}" for said in line.notices]
        with problems.of(origin):
            yield origin, with_line(config, line, origin)


def _recorded(config: GenerateConfig) -> dict[str, Any]:
    known = {key: value for key, value in to_mapping(config).items() if key not in _NOT_RECORDED}
    return known | {"execution": without_placement(known["execution"])}


def _output_options(recorded: GenerateConfig, asked: GenerateConfig) -> GenerateConfig:
    default = type(asked)()
    asked_for = (name for name in (*_WHERE_MODELS_ARE, _BULK_DECODE) if hasattr(asked, name))
    named = {name: getattr(asked, name) for name in asked_for}
    named = {name: value for name, value in named.items() if value != getattr(default, name)}
    return replace(
        recorded,
        **named,
        from_latent=asked.from_latent,
        format=asked.format,
        crf=asked.crf,
        fps=asked.fps or recorded.fps,
        contact_sheet=asked.contact_sheet,
        metadata=asked.metadata,
        out=asked.out,
        run=asked.run,
        offline=asked.offline,
        execution=_seen_with(recorded.execution, asked.execution),
    )


def _seen_with(recorded: ExecutionConfig, asked: ExecutionConfig) -> ExecutionConfig:
    """As a clip was made, but for where and how its latents are decoded now."""
    default = type(asked)()
    decoding = {field.name: getattr(asked, field.name) for field in fields(AutoencodingConfig)}
    changed = {name: value for name, value in decoding.items() if value != getattr(default, name)}
    return replace(recorded, **changed)


def _check_same(record: Provenance, made: Provenance) -> None:
    """Raise unless the model and the inputs are those of the record."""
    _check_same_models(record.models, made.models)
    for name, facts in record.inputs.items():
        if made.inputs.get(name, {}).get("sha256") != facts["sha256"]:
            raise FileError(
                f"{name}: {facts['path']} is not the file that was used then. Name it with "
                f"--{name.partition(' ')[0].replace('_', '-')}."
            )
    for name in made.inputs.keys() - record.inputs.keys():
        raise FileError(f"{name}: {made.inputs[name]['path']} was not used then. Move it away.")


def _check_same_models(recorded: Mapping[str, str], fingerprints: Mapping[str, str]) -> None:
    for part, fingerprint in recorded.items():
        if fingerprints.get(part) != fingerprint:
            raise CheckpointError(
                f"{part}: these are other weights or settings than those that made the file. Put those back,"
                " or run reelwright generate to make a new clip."
            )


def _version_notices(record: Provenance, made: Provenance) -> list[str]:
    then, now = record.versions, made.versions
    changed = [
        f"{name} {then[name]} -> {now.get(name, 'none')}" for name in then if then[name] != now.get(name)
    ]
    if record.version != made.version:
        changed.append(f"reelwright {record.version} -> {made.version}")
    return [f"Other versions than then, so bytes may differ: {', '.join(changed)}."] if changed else []
