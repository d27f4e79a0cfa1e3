"""A trained sensor policy as the `policy/` part of a bundle: ONNX graphs, normalization, and what the VL encoder needs.

Reads the folder that `ganglion train policy` wrote: model.safetensors, config.json, robot.json, norm.json, run.json,
and backbone/ where the backbone learned, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ganglion.core.bundle import NORM
from ganglion.core.errors import InputError
from ganglion.core.manifest import ParityRow, PolicyPart
from ganglion.core.normalization import Normalization, read_normalization, write_normalization
from ganglion.core.specs import RobotSpec, robot_from_dict
from ganglion.export.onnx_file import OPSET
from ganglion.export.onnx_runner import open_onnx
from ganglion.export.onnx_vlm import export_vl_encoder
from ganglion.export.parity import fresh_cases, make_prompts
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.export.policy_parity import VlPair, policy_parity
from ganglion.export.prompt_files import write_prompt_files
from ganglion.model.backbone.backbone import Backbone, hidden_states
from ganglion.model.backbone.facts import BackboneFacts, read_facts
from ganglion.model.backbone.finetune import merge_adapter
from ganglion.model.backbone.tuned import TUNED, load_tuned
from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.policy.policy import VLAPolicy

_IMAGES = 4


@dataclass(frozen=True)
class TrainedPolicy:
    """What training wrote.

    run       all of run.json
    backbone  that saw for it, None without cameras
    tuned     folder of what the backbone learned, None if it was frozen
    """

    policy: VLAPolicy
    robot: RobotSpec
    norm: Normalization
    run: Mapping[str, Any]
    backbone: BackboneFacts | None
    tuned: Path | None


def open_policy(folder: Path) -> TrainedPolicy:
    """Read a policy folder and check that its parts fit together.

    Raises:
        InputError: a file is missing or unreadable, or parts contradict each other or the base they were trained on.
    """
    policy = VLAPolicy.from_pretrained(folder)
    robot = robot_from_dict(_read_json(folder / "robot.json"), folder / "robot.json")
    run = _read_json(folder / "run.json")
    if not (folder / NORM).is_file():
        raise InputError(f"holds no {NORM}", where=folder, remedy="give a folder that 'ganglion train policy' wrote")
    if bool(robot.cameras) != (policy.config.fusion != "none"):
        raise InputError(
            f"the robot has {len(robot.cameras)} cameras, the policy's fusion is {policy.config.fusion!r}",
            where=folder,
            remedy="train the policy for this robot",
        )
    tuned = folder / TUNED if (folder / TUNED).is_dir() else None
    norm, backbone = read_normalization(folder / NORM), _checked_backbone(robot, run, folder)
    return TrainedPolicy(policy, robot, norm, run, backbone, tuned)


def export_policy(policy_folder: Path, out: Path) -> tuple[PolicyPart, list[ParityRow]]:
    """Write `out`/policy and `out`/norm.json; returns the manifest's part and the parity rows.

    Raises:
        InputError: as `open_policy`, or the base is of a family that can't be exported.
    """
    trained = open_policy(policy_folder)
    policy, folder = trained.policy, out / "policy"
    write_sensor_stream(policy, folder / "sensor_stream.onnx")
    write_action_head(policy, folder / "action_head.onnx")
    write_normalization(out / NORM, trained.norm)
    vl, backbone = _export_backbone(trained, folder) if trained.backbone else ([], {})
    part = PolicyPart(
        config={**asdict(policy.config), **({"vl_age_ms": list(trained.run["vl_age_ms"])} if trained.backbone else {})},
        read_frames=policy.config.read_frames,
        receptive_frames=policy.config.receptive_frames,
        frame_width=policy.config.width,
        instruction=str(trained.run.get("instruction") or ""),
        precision="float32",
        opset=OPSET,
        **backbone,
    )
    return part, policy_parity(policy, folder, vl)


def _export_backbone(trained: TrainedPolicy, folder: Path) -> tuple[list[VlPair], dict[str, Any]]:
    """Write vl_encoder.onnx with tokenizer and chat template, and compare it with torch on fresh images."""
    assert trained.backbone is not None
    backbone = Backbone(replace(trained.backbone, vl_precision="float32"), device="cpu")
    if trained.tuned:
        load_tuned(backbone, trained.tuned)
        merge_adapter(backbone)
    export_vl_encoder(backbone.model, folder / "vl_encoder.onnx")
    write_prompt_files(backbone.encode.processor, folder)
    fields = {
        "base_id": backbone.facts.base,
        "base_hash": backbone.facts.base_hash,
        "image_token_id": int(backbone.model.config.image_token_id),
        "image_processor": backbone.encode.image_settings,
    }
    return _vl_pairs(backbone, folder, len(trained.robot.cameras)), fields


def _vl_pairs(backbone: Backbone, folder: Path, cameras: int) -> list[VlPair]:
    encoder = open_onnx(folder / "vl_encoder.onnx")
    images = [(case_images * cameras, text) for case_images, text in fresh_cases(_IMAGES, seed=21)]
    pairs = []
    for prompt in make_prompts(backbone.model, backbone.encode.processor, images):
        with torch.no_grad():
            trained = hidden_states(backbone.model, prompt.inputs).numpy()
        feeds = {name: prompt.inputs[name].numpy() for name in ("pixel_values", "image_grid_thw", "input_ids")}
        (onnx,) = encoder.run(None, {**feeds, "position_ids": prompt.position_ids.numpy()})
        pairs.append(VlPair(trained, onnx))
    return pairs


def _checked_backbone(robot: RobotSpec, run: Mapping[str, Any], folder: Path) -> BackboneFacts | None:
    if not robot.cameras:
        return None
    if missing := [key for key in ("vl_age_ms", "instruction") if key not in run]:
        raise InputError(f"has no key {missing[0]!r}", where=folder / "run.json", remedy="train the policy again")
    facts = read_facts(run, folder / "run.json")
    if (found := base_hash(resolve_base(facts.base))) != facts.base_hash:
        raise InputError(
            f"was trained on another base: {facts.base!r} has hash {found[:12]}, the policy wants"
            f" {facts.base_hash[:12]}",
            where=folder,
            remedy="restore that base, or train the policy again",
        )
    return facts


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("is missing", where=path, remedy="give a folder that 'ganglion train policy' wrote") from None
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read ({error})", where=path, remedy="train the policy again") from None
    if not isinstance(data, dict):
        raise InputError(f"holds {type(data).__name__}, not an object", where=path, remedy="train the policy again")
    return data
