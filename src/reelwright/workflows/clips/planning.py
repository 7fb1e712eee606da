"""Which clips a run makes: every prompt with every seed, or the one whose latents were saved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelwright import __version__
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.errors import CheckpointError, ConfigError, FileError
from reelwright.core.paths import sha256_of
from reelwright.core.prompt_lines import read_prompt_file
from reelwright.core.provenance import METADATA_KEY, Provenance, library_versions
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Family, Model, Request, file_inputs

_NOT_RECORDED = {
    "out",
    "run",
    "from_file",
    "from_latent",
    "num_videos",
    "preview_every",
    "contact_sheet",
    "offline",
}
"""Fields that decide nothing in the bytes of a clip."""


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """One clip, decided; `request` is None where its latents are on disk."""

    config: GenerateConfig
    metadata: Mapping[str, str]
    """What goes into each of its files."""
    request: Request | None = None
    latents: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    family: Family
    model: Model
    clips: Sequence[PlannedClip]
    notices: Sequence[str]


def plan_generation(family: Family, config: GenerateConfig, record: Provenance | None = None) -> Plan:
    """Find the checkpoint, read all inputs and decide every clip; nothing is loaded.

    `record` is that of a clip to be made again. Raises UserError; of several bad prompts, all are named.
    """
    asked = list(_each_prompt_and_seed(config))
    model = family.locate(config)
    requests: list[Request] = []
    problems: list[str] = []
    for origin, wanted in asked:
        try:
            requests.append(family.resolve(wanted, model))
        except ConfigError as error:
            problems.append("\n".join(f"{origin}{line}" for line in str(error).splitlines()))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    notices = [*model.notices, *(notice for request in requests for notice in request.notices)]
    made = [_record_of(family, model, request.config) for request in requests]
    if record is not None:
        _check_same(record, made[0])
        notices += _version_notices(record, made[0])
        made = [replace(made[0], config=record.config, inputs=record.inputs)]
    clips = [
        PlannedClip(config=request.config, metadata=_metadata(request.config, provenance), request=request)
        for request, provenance in zip(requests, made, strict=True)
    ]
    return Plan(family=family, model=model, clips=clips, notices=list(dict.fromkeys(notices)))


def plan_decoding(family: Family, config: GenerateConfig) -> Plan:
    """Show saved latents again: with the model that made them, and with the output options of `config`."""
    assert config.from_latent is not None
    path = config.from_latent
    text = read_safetensors_metadata(path).get(METADATA_KEY)
    record = None if text is None else Provenance.from_json(text, str(path))
    if record is not None:
        if record.family != family.name:
            raise ConfigError(
                f"from_latent: {path} was made by {record.family}. Run reelwright generate {record.family}."
            )
        config = _output_options(from_mapping(type(config), record.config, str(path)), config)
    model = family.locate(config)
    metadata = _metadata(config, replace(record, config=_recorded(config))) if record is not None else {}
    clip = PlannedClip(config=config, metadata=metadata, latents=path)
    return Plan(family=family, model=model, clips=[clip], notices=list(model.notices))


def _each_prompt_and_seed(config: GenerateConfig) -> Iterator[tuple[str, GenerateConfig]]:
    """Every clip asked for, with where it was asked for; seeds count up from that of its prompt."""
    for origin, wanted in _each_prompt(config):
        for number in range(config.num_videos):
            yield origin, replace(wanted, seed=wanted.seed + number)


def _each_prompt(config: GenerateConfig) -> Iterator[tuple[str, GenerateConfig]]:
    if config.from_file is None:
        yield "", config
        return
    if config.prompt:
        raise ConfigError("prompt: there are prompts in from_file too. Give one or the other.")
    for line in read_prompt_file(config.from_file):
        origin = f"{config.from_file}: line {line.line}: "
        yield (
            origin,
            from_mapping(
                type(config), {**line.overrides, "prompt": line.prompt}, origin.rstrip(": "), config
            ),
        )


def _record_of(family: Family, model: Model, config: GenerateConfig) -> Provenance:
    return Provenance(
        version=__version__,
        workflow="generate",
        family=family.name,
        config=_recorded(config),
        models=dict(model.fingerprints),
        inputs={
            name: {"path": str(path), "sha256": sha256_of(path)}
            for name, path in file_inputs(family, config).items()
        },
        versions=library_versions(),
    )


def _recorded(config: GenerateConfig) -> dict[str, Any]:
    return {key: value for key, value in to_mapping(config).items() if key not in _NOT_RECORDED}


def _metadata(config: GenerateConfig, provenance: Provenance) -> dict[str, str]:
    return {METADATA_KEY: provenance.to_json()} if config.metadata else {}


def _output_options(recorded: GenerateConfig, asked: GenerateConfig) -> GenerateConfig:
    return replace(
        recorded,
        from_latent=asked.from_latent,
        format="mp4" if asked.format == "latent" else asked.format,
        crf=asked.crf,
        fps=asked.fps or recorded.fps,
        contact_sheet=asked.contact_sheet,
        metadata=asked.metadata,
        out=asked.out,
        run=asked.run,
        offline=asked.offline,
    )


def _check_same(record: Provenance, made: Provenance) -> None:
    """Raise unless the model and the inputs are those of the record."""
    for part, fingerprint in record.models.items():
        if made.models.get(part) != fingerprint:
            raise CheckpointError(
                f"{part}: these are other weights than those that made the file. Put those back, or run"
                " reelwright generate to make a new clip."
            )
    for name, facts in record.inputs.items():
        if made.inputs.get(name, {}).get("sha256") != facts["sha256"]:
            raise FileError(
                f"{name}: {made.inputs[name]['path']} is not the file that was used then. Name it with "
                f"--{name.replace('_', '-')}."
            )


def _version_notices(record: Provenance, made: Provenance) -> list[str]:
    then, now = record.versions, made.versions
    changed = [
        f"{name} {then[name]} -> {now.get(name, 'none')}" for name in then if then[name] != now.get(name)
    ]
    if record.version != made.version:
        changed.append(f"reelwright {record.version} -> {made.version}")
    return [f"Other versions than then, so bytes may differ: {', '.join(changed)}."] if changed else []
