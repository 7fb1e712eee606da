"""Make video: one run folder with clips, their latents, and what it takes to make them again."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.events import Event, Finished, Notice
from reelwright.core.log import RunLog
from reelwright.core.paths import check_writable
from reelwright.core.provenance import Provenance
from reelwright.core.run_folder import RunFolder
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Family
from reelwright.protocols.presets import filled
from reelwright.workflows.adapter_origin import locate
from reelwright.workflows.clips.making import Clip, make_clips
from reelwright.workflows.clips.planning import Plan, plan_decoding, plan_generation
from reelwright.workflows.clips.recording import ROOM_NEEDED, Tally, recorded, store_recipe, with_seed
from reelwright.workflows.clips.sessions import OpenSession, start_session
from reelwright.workflows.planning.fitted import fitted, keep_choice


def run(
    family: str,
    config: GenerateConfig,
    record: Provenance | None = None,
    *,
    replaces: bool = False,
    earlier: Path | None = None,
    open_session: OpenSession = start_session,
) -> Iterator[Event]:
    """Make every clip that the configuration asks for, or decode a saved latent.

    What can be wrong with the configuration, the checkpoint and the inputs is found before a model loads and
    before a folder is made. A run folder of the same recipe is continued: finished clips and sections stay,
    saved latents are decoded. `record` is that of a clip to be made again; it is checked against what is
    here.
    replaces: the folder's recipe gives way to this one, and what no longer follows from it is made again.
    earlier: the folder of another run, whose sections serve too, where they are the very ones.
    open_session: may take a model that is in use already.
    """
    tally = Tally(None if record is None else record.shortcuts)
    config = filled(with_seed(validate(config, "generate")), families.configs(family).PRESETS)
    known = families.load(family)
    if config.save_merged_model is not None:
        yield from _write_merged(known, config, config.save_merged_model)
        return
    check_writable(config.run or config.out, ROOM_NEEDED)
    runs, remarks = (config, []) if record is not None else fitted(family, config)
    plan = plan_generation(known, runs, record) if runs.from_latent is None else plan_decoding(known, runs)
    plan = replace(plan, notices=[*remarks, *plan.notices])
    with RunFolder.create(config.out, config.run, family) as folder, RunLog(folder.log_path):
        store_recipe(folder, family, config, replaces=replaces)
        if runs is not config:
            keep_choice(folder.path, family, runs)
        yield from recorded(folder.sink(), _make(plan, folder.path, tally, earlier, open_session))


def _write_merged(family: Family, config: GenerateConfig, path: Path) -> Iterator[Event]:
    """Write the denoiser with its LoRAs merged, and make nothing."""
    started = time.perf_counter()
    check_writable(path.parent, ROOM_NEEDED)
    model = locate(family, config)
    yield from (Notice(text) for text in model.notices)
    yield from family.start(model, config.execution).write_merged(path)
    yield Finished(({"model": str(path)},), time.perf_counter() - started)


def _make(
    plan: Plan, folder: Path, tally: Tally, earlier: Path | None, open_session: OpenSession
) -> Generator[Event]:
    for text in (*plan.notices, *(f"left out: {failure}" for failure in plan.failures)):
        yield Notice(text)
    tally.failures += plan.failures
    session = open_session(plan.family, plan.model, plan.clips[0].config)
    clips = [
        Clip(plan=clip, folder=folder, number=number, total=len(plan.clips))
        for number, clip in enumerate(plan.clips, start=1)
    ]
    yield from tally.watch(make_clips(session, clips, earlier))
    yield from tally.end()
