"""`ganglion train sft`: all data is checked before any model is loaded; then QLoRA, resumed where it was left.

A run is one model; a curriculum is a chain of runs, each in its folder under stages/, that hand their adapter on; an
ensemble is several runs side by side. Each of them is resumed by the same means, so all of them are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ganglion.core.datafile import read_datafile
from ganglion.core.paths import write_json
from ganglion.core.tasks import get_task
from ganglion.training.claim import RUN_FILE, claim
from ganglion.training.evaluate.members import ENSEMBLE_FILE
from ganglion.training.processes import is_main, join, main_first, process_count, wait_for_all
from ganglion.training.sft.config import (
    SftConfig,
    binding,
    check_values,
    checked,
    of_stage,
    of_variant,
    resolved,
    singles,
)
from ganglion.training.sft.publish import check_reachable, check_report, push
from ganglion.training.sft.run_folder import LEAVES, STAGES, finish_curriculum
from ganglion.training.sft.single import Data, train_single


def run(config: SftConfig) -> None:
    """Fine-tune as the config says and print where the adapter is; or print what that would take."""
    if config.estimate:
        from ganglion.training.sft.foresee import foresee

        check_values(config)
        name = config.task or Path(config.base).name.replace(":", "-")
        print("\n".join(foresee(config, config.out or Path("runs") / name)))
        return
    out = train_sft(config)
    if is_main():
        print(f"{'ensemble' if config.variants else 'adapter'} in {out}")


def train_sft(config: SftConfig) -> Path:
    """Fine-tune, or go on with an interrupted run, or find it finished; returns the run's folder.

    Raises:
        InputError: an option or a row is bad, or the folder holds another run. Nothing was trained.
        GanglionError: the loss is no longer finite, the disk is full, or the hub can't be reached.
    """
    task_name, _, out = checked(config)
    check_report(config)
    check_reachable(config)
    if process_count() > 1:
        import torch

        join(cpu=not torch.cuda.is_available())
    with main_first():
        data = {path: read_datafile(path, get_task(task_name)) for path in _files(config)}
    _train(replace(config, out=out), data)
    if config.push_to_hub and is_main():
        push(out, config)
    return out


def _files(config: SftConfig) -> list[Path]:
    """Every data file that is needed, each once."""
    files = [file for single in singles(config) for file in (single.data, single.validation.data) if file]
    return list(dict.fromkeys(files))


def _train(config: SftConfig, data: Data) -> None:
    assert config.out is not None
    if config.variants:
        _train_ensemble(config, config.out, data)
    elif config.stages:
        _train_curriculum(config, config.out, data)
    else:
        train_single(config, config.out, data)


def _train_ensemble(config: SftConfig, out: Path, data: Data) -> None:
    names = [variant.name for variant in config.variants]
    if _claimed(config, out, (*names, ENSEMBLE_FILE)):
        return
    for variant in config.variants:
        _train(replace(of_variant(config, variant), out=out / variant.name, force=False), data)
    if is_main():
        write_json(out / ENSEMBLE_FILE, {"members": names})
        write_json(out / RUN_FILE, {"task": config.task, "members": names})
    wait_for_all()


def _train_curriculum(config: SftConfig, out: Path, data: Data) -> None:
    if _claimed(config, out, (*LEAVES, STAGES)):
        return
    folders: list[Path] = []
    for number, stage in enumerate(config.stages, 1):
        folder = out / STAGES / f"{number}-{stage.name}"
        start = folders[-1] if folders else config.init_adapter
        train_single(replace(of_stage(config, stage), init_adapter=start, force=False), folder, data)
        folders.append(folder)
    if is_main():
        finish_curriculum(out, config, folders)
    wait_for_all()


def _claimed(config: SftConfig, out: Path, leaves: tuple[str, ...]) -> bool:
    """Make the folder this run's; True if it is finished already."""
    with main_first():
        wanted = {**binding(config), "processes": process_count()}
        if is_main() and claim(out, wanted, resolved(config), leaves, config.force):
            print(f"{out} holds this run, finished; --force trains it again")
    return (out / RUN_FILE).is_file()
