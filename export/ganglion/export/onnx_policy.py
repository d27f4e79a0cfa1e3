"""A trained sensor policy as the `policy/` part of a bundle: ONNX graphs, normalization, and what the VL encoder needs.

Reads the folder that `ganglion train policy` wrote (ganglion.model.policy.policy). The graphs are written in float32
and measured; where fewer bits are asked for, written anew and measured again.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from ganglion.core.bundle import NORM
from ganglion.core.manifest import ParityRow, PolicyPart
from ganglion.core.normalization import write_normalization
from ganglion.export.gates import METRIC_LOSS
from ganglion.export.graph_cases import write_cases
from ganglion.export.onnx_file import OPSET
from ganglion.export.policy_calibration import calibrate_policy, check_enough
from ganglion.export.policy_cases import policy_cases
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.export.policy_parity import MAX_ABS, ask, parity_row, rounded_stream_row, stream_row
from ganglion.export.policy_questions import fresh_questions, kept_questions
from ganglion.export.policy_stages import GraphPolicy, TrainedPolicy
from ganglion.export.policy_vl import VL_ENCODER, PolicyViews
from ganglion.export.prompt_files import write_prompt_files
from ganglion.export.targets import FLOAT32, Precision
from ganglion.model.policy.kept_moments import read_moments
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.policy import VLAPolicy


def export_policy(
    policy_folder: Path, out: Path, precision: Precision = FLOAT32, *, calibrated: bool = False
) -> tuple[PolicyPart, list[ParityRow]]:
    """Write `out`/policy and `out`/norm.json; returns the manifest's part and the parity rows, with limits.

    Args:
        policy_folder: what was trained.
        out: the bundle in the making.
        precision: "head" is of action_head.onnx and sensor_stream.onnx, the others of vl_encoder.onnx.
        calibrated: a head in int8 has fixed scales, from half of the real moments in the policy's folder, in the place
            of scales for each row anew. Quicker with many rows in a call; what is unlike those moments is cut off.

    Raises:
        InputError: a file is missing or unreadable, parts contradict each other or the base they were trained on, the
            base is of a family that can't be exported, or there is too little to calibrate on.
        ValueError: another head than int8 is to be calibrated.
    """
    if calibrated and precision.head != "int8":
        raise ValueError(f"a head in {precision.head} isn't calibrated")
    policy, folder = VLAPolicy.from_pretrained(policy_folder, vl_precision="float32"), out / "policy"
    network, vl, config = policy.network, policy.vl or {}, policy.network.config
    moments = read_moments(policy_folder, config)
    kept = kept_questions(config, moments) if moments else []
    calibration, judged = kept[::2], kept[1::2]
    if calibrated:
        check_enough(calibration, policy_folder)
    views = PolicyViews(policy.backbone, len(policy.robot.cameras)) if policy.backbone else None
    fresh = fresh_questions(config, len(views.prompts) if views else 0)
    trained = ask(TrainedPolicy(network, views.trained() if views else ()), fresh, judged)

    def write(wanted: Precision, calibrated: bool = False) -> GraphPolicy:
        _write_graphs(network, folder, "float32" if calibrated else wanted.head)
        if calibrated:
            calibrate_policy(folder, config, calibration)
        if views and (wanted.vlm != FLOAT32.vlm or not (folder / VL_ENCODER).is_file()):
            views.write(folder, wanted)
        return GraphPolicy(folder, config, views.exported(folder) if views else ())

    graphs = write(FLOAT32)
    found = ask(graphs, fresh, judged)
    row = parity_row("onnx", "trained", found, trained, trained, METRIC_LOSS["float32"])
    rows = [replace(row, limits={**row.limits, "max_abs": MAX_ABS})]
    rows += [stream_row("stream", found, trained)] if network.encoder else []
    if precision != FLOAT32:
        name, loss = _name(precision, calibrated), max(METRIC_LOSS[part] for part in asdict(precision).values())
        graphs = write(precision, calibrated)
        sees = precision.vlm != FLOAT32.vlm
        answers = ask(graphs, fresh, judged)
        rows.append(parity_row(f"onnx {name}", "onnx", answers, found, trained, loss, sees=sees))
        if network.encoder and precision.head != "float32":
            rows.append(rounded_stream_row(f"stream {precision.head}", graphs, fresh, found))
    write_cases(out / "parity" / "policy.npz", policy_cases(folder, graphs, fresh[0], views))
    write_normalization(out / NORM, policy.norm)
    if policy.backbone:
        write_prompt_files(policy.backbone.encode.processor, folder)
    part = PolicyPart(
        config={**asdict(config), **({"vl_age_ms": list(vl["age_ms"])} if vl else {})},
        read_frames=config.read_frames,
        receptive_frames=config.receptive_frames,
        frame_width=config.width,
        instruction=str(vl.get("instruction", "")),
        precision=asdict(precision),
        opset=OPSET,
        **(views.facts if views else {}),
    )
    return part, rows


def _write_graphs(network: PolicyNetwork, folder: Path, precision: str) -> None:
    if network.encoder is not None:
        write_sensor_stream(network.encoder, folder / "sensor_stream.onnx", precision)
    write_action_head(network.expert, folder / "action_head.onnx", precision)


def _name(precision: Precision, calibrated: bool) -> str:
    """As a stage is called by its precision: "int8 calibrated", "float32, language int8"."""
    head = f"{precision.head} calibrated" if calibrated else precision.head
    others = [f"{part} {of}" for part, of in precision.vlm.items() if of != "float32"]
    return ", ".join([head, *others])
