"""The files of models by themselves: which are here, missing or damaged; and the same in another form."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.core.errors import ConfigError, FileError, UserError, suggestion
from reelwright.core.events import Event, Facts, Finished, ItemFinding
from reelwright.protocols.models_configs import ConvertModel, DownloadModel, ListModels, VerifyModels
from reelwright.workflows.models_here.finding import FoundModel, find_folder, find_model, find_models
from reelwright.workflows.models_here.folders import folders_to_search, single_files, whole_models


def run(action: str, **options: Any) -> Iterator[Event]:  # noqa: ANN401 - those of the action's schema
    """One of the actions, with the fields of its schema."""
    if action not in _ACTIONS:
        raise ConfigError(f"models: {action!r} is no action. {suggestion(action, _ACTIONS)}")
    started = time.perf_counter()
    yield from _ACTIONS[action](options)
    files = ({"model": str(options["out"])},) if action == "convert" else ()
    yield Finished(files, time.perf_counter() - started)


def list_models(config: ListModels) -> Iterator[Event]:
    """Facts for each released model, then for each whole model and single file in the folders."""
    folders = folders_to_search(config.folder, config.comfyui)
    for model in find_models(config.family):
        yield Facts(_told(model))
    for folder in whole_models(folders):
        for model in _models_in(folder, config.family):
            yield Facts(_told(model))
    for path in single_files(folders):
        yield _told_of_file(path, config.family)


def verify(config: VerifyModels) -> Iterator[Event]:
    """Read what is named, or all that is here. Raises UserError at the end if anything is damaged."""
    # Reading networks takes torch, which lists of models do without.
    from reelwright.workflows.models_here.verifying import Verifying  # noqa: PLC0415

    verifying = Verifying()
    folders = folders_to_search(config.folder, config.comfyui)
    models, files = _named(config) if config.model else (_all_models(config, folders), single_files(folders))
    for model in models:
        yield from verifying.check_model(model)
    for path in files:
        yield from verifying.check_file(path, config.family)
    yield Facts({"files read": str(verifying.num_files), "damaged": str(verifying.num_damaged or "none")})
    if verifying.num_damaged:
        raise UserError(
            f"{verifying.num_damaged} damaged, listed above. Remove those files and fetch them again with"
            " `reelwright models download`."
        )


def _named(config: VerifyModels) -> tuple[list[FoundModel], list[Path]]:
    """The model or file that is named. Raises UserError if it is not here."""
    path = Path(config.model)
    if path.is_file():
        return [], [path]
    if path.is_dir():
        models = list(_models_in(path, config.family))
        return models, [] if models else [path]
    model = find_model(config.family, config.model)
    if model is None or not model.is_begun:
        advice = "Check the path." if model is None else f"Fetch it: {model.get_command}"
        raise FileError(f"{config.model}: is not on this machine. {advice}")
    return [model], []


def _all_models(config: VerifyModels, folders: list[Path]) -> list[FoundModel]:
    released = [model for model in find_models(config.family) if model.is_begun]
    own = (model for folder in whole_models(folders) for model in _models_in(folder, config.family))
    return [*released, *own]


def _models_in(folder: Path, family: str) -> Iterator[FoundModel]:
    """The model of a folder, for the family that is named or those that know any network in it."""
    from reelwright.workflows.models_here.recognizing import is_known  # noqa: PLC0415 - takes torch

    for name in [family] if family else families.names():
        model = find_folder(name, folder)
        if model is not None and (family or is_known(name, model.paths)):
            yield model


def _told(model: FoundModel) -> dict[str, str]:
    """All that is known of a model, and what to type."""
    facts = {
        "model": f"{model.family} {model.variant.name}",
        "title": model.variant.title,
        "license": model.variant.license,
        **{each.part.name: each.told() for each in model.parts},
    }
    if model.missing:
        return facts | {"get it": model.get_command}
    return facts | {"use it": f"reelwright generate {model.family} --model {model.variant.name}"}


def _told_of_file(path: Path, family: str) -> Event:
    from reelwright.workflows.models_here.recognizing import LORA, recognize_file  # noqa: PLC0415 - takes torch

    try:
        known = recognize_file(path, family)
    except FileError as error:
        return ItemFinding(str(path), "file", str(error), "error")
    facts = {"file": str(path)}
    for each in known:
        facts["is"] = f"{each.part} of {each.family} {each.model}".rstrip()
        flag = "--lora" if each.part == LORA else _flag(each.family, each.part)
        facts["use it"] = f"reelwright generate {each.family} {flag} {path}"
    return Facts(facts if known else facts | {"is": "nothing that a family here knows"})


def _flag(family: str, part: str) -> str:
    parts = families.configs(family).VARIANTS[0].parts
    return next(each.flag for each in parts if each.name == part)


def _download(options: Mapping[str, Any]) -> Iterator[Event]:
    from reelwright.workflows.models_here.downloading import download  # noqa: PLC0415

    return download(DownloadModel(**options))


def _convert(options: Mapping[str, Any]) -> Iterator[Event]:
    from reelwright.workflows.models_here.converting import convert  # noqa: PLC0415 - takes torch

    return convert(ConvertModel(**options))


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Event]]] = {
    "list": lambda options: list_models(ListModels(**options)),
    "verify": lambda options: verify(VerifyModels(**options)),
    "download": _download,
    "convert": _convert,
}
