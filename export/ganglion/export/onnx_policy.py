"""A trained sensor policy as the `policy/` part of a bundle: ONNX graphs, normalization, and what the VL encoder needs.

Reads the folder that `ganglion train policy` wrote (ganglion.model.policy.policy).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ganglion.core.bundle import NORM
from ganglion.core.manifest import ParityRow, PolicyPart
from ganglion.core.normalization import write_normalization
from ganglion.export.onnx_file import OPSET
from ganglion.export.onnx_vlm import export_vl_encoder
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.export.policy_parity import VlPair, policy_parity
from ganglion.export.prompt_files import write_prompt_files
from ganglion.export.prompts import fresh_cases, make_prompts, vl_feeds
from ganglion.export.sessions import open_onnx
from ganglion.model.backbone.backbone import Backbone, hidden_states
from ganglion.model.backbone.finetune import merge_adapter
from ganglion.model.policy.policy import VLAPolicy

_IMAGES = 4
MAX_ABS = 1e-4  # of a normalized action, or of a frame


def export_policy(policy_folder: Path, out: Path) -> tuple[PolicyPart, list[ParityRow]]:
    """Write `out`/policy and `out`/norm.json; returns the manifest's part and the parity rows.

    Raises:
        InputError: a file is missing or unreadable, parts contradict each other or the base they were trained on, or
            the base is of a family that can't be exported.
    """
    policy, folder = VLAPolicy.from_pretrained(policy_folder, vl_precision="float32"), out / "policy"
    network, vl = policy.network, policy.vl or {}
    if network.encoder is not None:
        write_sensor_stream(network.encoder, folder / "sensor_stream.onnx")
    write_action_head(network.expert, folder / "action_head.onnx")
    write_normalization(out / NORM, policy.norm)
    pairs, backbone = _export_backbone(policy, folder) if policy.backbone else ([], {})
    part = PolicyPart(
        config={**asdict(network.config), **({"vl_age_ms": list(vl["age_ms"])} if vl else {})},
        read_frames=network.config.read_frames,
        receptive_frames=network.config.receptive_frames,
        frame_width=network.config.width,
        instruction=str(vl.get("instruction", "")),
        precision={"head": "float32", "language": "float32", "vision": "float32"},
        opset=OPSET,
        **backbone,
    )
    return part, [replace(row, limits={"max_abs": MAX_ABS}) for row in policy_parity(network, folder, pairs)]


def _export_backbone(policy: VLAPolicy, folder: Path) -> tuple[list[VlPair], dict[str, Any]]:
    """Write vl_encoder.onnx with tokenizer and chat template, and compare it with torch on fresh images."""
    backbone = policy.backbone
    assert backbone is not None
    merge_adapter(backbone)
    export_vl_encoder(backbone.model, folder / "vl_encoder.onnx")
    write_prompt_files(backbone.encode.processor, folder)
    fields = {
        "base_id": backbone.facts.base,
        "base_hash": backbone.facts.base_hash,
        "image_token_id": int(backbone.model.config.image_token_id),
        "image_processor": backbone.encode.image_settings,
    }
    return _vl_pairs(backbone, folder, len(policy.robot.cameras)), fields


def _vl_pairs(backbone: Backbone, folder: Path, cameras: int) -> list[VlPair]:
    encoder = open_onnx(folder / "vl_encoder.onnx")
    images = [(case_images * cameras, text) for case_images, text in fresh_cases(_IMAGES, seed=21)]
    pairs = []
    for prompt in make_prompts(backbone.model, backbone.encode.processor, images):
        with torch.no_grad():
            trained = hidden_states(backbone.model, prompt.inputs).numpy()
        (onnx,) = encoder.run(None, vl_feeds([prompt]))
        pairs.append(VlPair(trained, onnx))
    return pairs
