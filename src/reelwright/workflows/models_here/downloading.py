"""What a model lacks, fetched from the hub file by file, once its size and license are said."""

import time
from collections.abc import Iterator, Sequence

from reelwright.checkpoint.downloads import Download, fetch_file, finish_download, plan_download
from reelwright.checkpoint.hub import is_offline
from reelwright.core.errors import ConfigError, suggestion
from reelwright.core.events import Event, Facts, StageStarted, StepDone
from reelwright.core.paths import check_writable
from reelwright.core.sizes import size_text
from reelwright.protocols.models_configs import DownloadModel
from reelwright.protocols.variant import ReleasedPart
from reelwright.workflows.models_here.finding import FoundModel, FoundPart, find_model


def download(config: DownloadModel) -> Iterator[Event]:
    """Fetch what is missing. Raises ConfigError where the network may not be used, FileError if it fails."""
    model = find_model(config.family, config.model)
    if model is None:
        raise ConfigError(
            f"model: {config.model} is no variant of {config.family}; `hf download` fetches any other."
        )
    _check_parts(config.part, [each.part for each in model.parts])
    wanted = [each for each in model.parts if not config.part or each.part.name in config.part]
    downloads = _planned(model, wanted, is_allowed=not (config.offline or is_offline()))
    for each in downloads:
        yield Facts(_told(model, wanted, each))
    if not downloads:
        yield Facts({"model": f"{model.family} {model.variant.name}", "missing": "nothing"})
    if not downloads or config.dry_run:
        return
    check_writable(downloads[0].cache, sum(each.num_bytes for each in downloads))
    for each in downloads:
        yield from _fetch(each)


def _planned(model: FoundModel, wanted: Sequence[FoundPart], *, is_allowed: bool) -> list[Download]:
    """What is to be fetched. The hub is asked what belongs to parts that look whole, too, where it may be."""
    if model.variant.embedded or (not is_allowed and all(each.path is not None for each in wanted)):
        return []
    if not is_allowed:
        raise ConfigError(
            "offline: a download needs the network, which may not be used. Leave out --offline, and unset"
            " HF_HUB_OFFLINE if it is set."
        )
    downloads = [plan_download(*each) for each in _by_repository(model, wanted)]
    return [each for each in downloads if each.files]


def _fetch(planned: Download) -> Iterator[Event]:
    stage = f"download {planned.repository}"
    yield StageStarted(stage, len(planned.files))
    for number, file in enumerate(planned.files, start=1):
        before = time.perf_counter()
        fetch_file(planned, file)
        yield StepDone(stage, number, len(planned.files), time.perf_counter() - before)
    folder = finish_download(planned)
    yield Facts({"repository": planned.repository, "folder": str(folder)})


def _check_parts(wanted: Sequence[str], known: Sequence[ReleasedPart]) -> None:
    names = [part.name for part in known]
    for name in wanted:
        if name not in names:
            raise ConfigError(f"part: the model has no {name!r}. {suggestion(name, names)}")


def _by_repository(
    model: FoundModel, wanted: Sequence[FoundPart]
) -> list[tuple[Sequence[str], Sequence[str]]]:
    """The repositories that are to be asked and what is wanted of each."""
    patterns: dict[tuple[str, ...], list[str]] = {}
    for found in wanted:
        places = found.part.repositories or model.variant.repositories
        # A download that was begun goes on in the repository that it is of.
        ordered = (found.repository, *(each for each in places if each != found.repository))
        patterns.setdefault(ordered, []).extend(found.part.patterns)
    return list(patterns.items())


def _told(model: FoundModel, wanted: Sequence[FoundPart], planned: Download) -> dict[str, str]:
    parts = [each.part for each in wanted if set(each.part.patterns) <= set(planned.patterns)]
    licenses = dict.fromkeys(part.license or model.variant.license for part in parts)
    return {
        "model": f"{model.family} {model.variant.name}",
        "repository": planned.repository,
        "revision": planned.revision,
        "parts": ", ".join(part.name for part in parts),
        "license": "; ".join(licenses),
        "size": f"{size_text(planned.num_bytes)} in {len(planned.files)} files",
        "into": str(planned.cache),
    }
