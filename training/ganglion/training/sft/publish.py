"""What leaves the machine, and only when asked to: the finished adapter to the hub, the loss to a tracker."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from ganglion.core.errors import GanglionError, InputError
from ganglion.model.checkpoint import HUB_NAME
from ganglion.training.processes import is_main
from ganglion.training.sft.config import SftConfig

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
PROJECT = "ganglion"  # what runs are grouped by at a tracker
TENSORBOARD = "tensorboard"  # in the run's folder


def check_report(config: SftConfig) -> None:
    """Raises InputError where the tracker that is asked for is not installed."""
    package = _PACKAGES.get(config.report_to)
    if package and importlib.util.find_spec(package) is None:
        raise InputError(f"--report_to {config.report_to} needs the package {package}", remedy=f"pip install {package}")


def trackers(config: SftConfig, out: Path) -> list[Any]:
    """Trainer's callbacks that send the loss where it is asked for; those of TensorBoard stay in the run's folder."""
    from transformers import integrations

    if config.report_to == "tensorboard":
        if not is_main():
            return []
        from torch.utils.tensorboard import SummaryWriter

        return [integrations.TensorBoardCallback(SummaryWriter(str(out / TENSORBOARD)))]
    if config.report_to == "wandb":
        os.environ.setdefault("WANDB_PROJECT", PROJECT)
        return [integrations.WandbCallback()]
    return [integrations.TrackioCallback()] if config.report_to == "trackio" else []


def check_reachable(config: SftConfig) -> None:
    """Raises InputError, before anything is trained, where an upload that is asked for could not be made."""
    if config.push_to_hub is None:
        return
    if not HUB_NAME.fullmatch(config.push_to_hub):
        raise InputError(f"--push_to_hub is {config.push_to_hub!r}", remedy="give OWNER/NAME")
    from huggingface_hub import get_token

    if not get_token():
        raise InputError("--push_to_hub needs a token", remedy="set HF_TOKEN or run 'hf auth login'")
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", ""):
        raise InputError("--push_to_hub with HF_HUB_OFFLINE set", remedy="unset it, or take --push_to_hub away")


def push(out: Path, config: SftConfig) -> None:
    """Upload a finished run's folder, without its checkpoints.

    Raises:
        GanglionError: the hub refused or can't be reached; the adapter stays where it is.
    """
    from huggingface_hub import HfApi

    assert config.push_to_hub is not None
    try:
        api = HfApi()
        api.create_repo(config.push_to_hub, private=config.hub_private, exist_ok=True)
        api.upload_folder(
            repo_id=config.push_to_hub,
            folder_path=out,
            ignore_patterns=["**/checkpoints/**", "checkpoints/**", "started.json"],
            commit_message="Adapter by ganglion train sft",
        )
    except Exception as error:  # the hub client raises half a dozen unrelated classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GanglionError(
            f"can't be uploaded to {config.push_to_hub}: {reason:.160}",
            where=out,
            remedy="the adapter is finished; give the same command again to upload it",
        ) from error
    print(f"uploaded to {config.push_to_hub}")
