"""The sensor policy's graphs, what is refused before any graph is made, and taking a policy over unchanged."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ganglion.core.bundle import open_bundle, seal_bundle
from ganglion.core.cli import main
from ganglion.core.errors import InputError
from ganglion.core.normalization import Normalization, Scale
from ganglion.core.paths import write_json
from ganglion.core.specs import ChannelGroup, RobotSpec, SensorSpec, StateSpec, default_robot

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

CHANNELS = 9
SENSOR = SensorSpec("tip", (ChannelGroup("a_scan", CHANNELS, "dB"),), rate_hz=500.0, hop_samples=10, window_samples=400)
ROBOT = RobotSpec("blind", (), (SENSOR,), default_robot().actions)


def write_policy(folder, robot=ROBOT, backbone=None, **changes):
    """A policy with drawn weights; of a robot with cameras, with the backbone as it is."""
    from ganglion.model.policy.config import PolicyConfig
    from ganglion.model.policy.network import PolicyNetwork
    from ganglion.model.policy.policy import VLAPolicy

    torch.manual_seed(1)
    shape = {
        "channel_groups": (CHANNELS,),
        "hop_samples": 10,
        "window_frames": 40,
        "horizon": 8,
        "action_dim": 7,
        "width": 32,
        "layers": 3,
        "heads": 4,
        "attention_frames": 12,
        "read_frames": 6,
        "expert_layers": 1,
        "vl_width": backbone.facts.vl_width if backbone else 0,
    }
    network = PolicyNetwork(PolicyConfig(**{**shape, **changes})).eval()
    for value in network.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.3)
    sizes = (CHANNELS * bool(network.encoder), 7, network.config.state_dim)
    scales = [Scale(np.zeros(n, np.float32), np.ones(n, np.float32)) if n else None for n in sizes]
    vl = {**backbone.facts.to_dict(), "age_ms": [0, 150], "instruction": "Go."} if backbone else None
    VLAPolicy(network, robot, Normalization(*scales), vl, backbone).save_pretrained(folder)
    return network


def make_backbone():
    from ganglion.model.backbone.backbone import Backbone
    from ganglion.model.backbone.facts import describe_backbone

    return Backbone(describe_backbone("offline:qwen2_vl?untrained", 1, precision="float32"), "cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    from ganglion.export.onnx_policy import export_policy

    root = tmp_path_factory.mktemp("policy")
    policy = write_policy(root / "trained")
    part, rows = export_policy(root / "trained", root / "bundle")
    return policy, root / "bundle", part, rows


def session(folder, name):
    import onnxruntime

    return onnxruntime.InferenceSession(str(folder / "policy" / name), providers=["CPUExecutionProvider"])


def test_the_stream_graph_takes_any_batch_and_any_number_of_hops(exported):
    policy, folder, _, _ = exported
    graph, random = session(folder, "sensor_stream.onnx"), np.random.default_rng(0)
    for batch in (1, 2, 5):
        state = policy.encoder.fresh_state(batch)
        feeds = dict(zip(("conv_state", "kv_state", "seen"), (part.numpy() for part in state), strict=True))
        for hops in (1, 4, 17, 60):
            samples = random.standard_normal((batch, hops * 10, CHANNELS), np.float32)
            with torch.no_grad():
                frames, state = policy.encoder.stream(torch.from_numpy(samples), torch.ones(batch, hops, 1), state)
            found, *after = graph.run(
                None, {"samples": samples, "present": np.ones((batch, hops, 1), np.float32), **feeds}
            )
            feeds = dict(zip(feeds, after, strict=True))
            np.testing.assert_allclose(found, frames.numpy(), atol=1e-5, rtol=0)
            for ours, theirs in zip(after, state, strict=True):
                np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5, rtol=0)


def test_the_head_takes_any_batch(exported):
    policy, folder, _, _ = exported
    from ganglion.model.policy.context import Context

    frames = np.random.default_rng(0).standard_normal((5, 6, 32), np.float32)
    present = np.ones((5, 6, 1), np.float32)
    (found,) = session(folder, "action_head.onnx").run(None, {"frames": frames, "present": present})
    with torch.no_grad():
        expected = policy.expert(Context(torch.from_numpy(frames), torch.from_numpy(present))).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert found.shape == (5, 8, 7)


def test_a_robot_without_cameras_gets_no_vl_encoder(exported):
    _, folder, part, _ = exported
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"policy/sensor_stream.onnx", "policy/action_head.onnx", "norm.json", "parity/policy.npz"}
    assert part.image_processor is None and part.base_id is None
    assert (part.read_frames, part.receptive_frames, part.frame_width) == (6, 40, 32)


def test_parity_is_within_its_limits_and_names_its_stages(exported):
    rows = exported[3]
    assert [(row.part, row.stage, row.against) for row in rows] == [
        ("policy", "onnx", "trained"),
        ("policy", "stream", "window"),
    ]
    assert 0 < rows[0].max_abs <= 1e-4
    assert 0 < rows[1].max_abs <= 1e-5
    assert all(row.samples >= 20 for row in rows)


def test_parity_sees_weights_that_differ(exported, tmp_path):
    from ganglion.export.policy_parity import ask, parity_row, stream_row
    from ganglion.export.policy_questions import fresh_questions
    from ganglion.export.policy_stages import GraphPolicy, TrainedPolicy

    policy, folder, _, _ = exported
    changed = type(policy)(policy.config).eval()
    changed.load_state_dict(policy.state_dict())
    with torch.no_grad():
        changed.encoder.blocks[0].qkv.weight += 1e-2
    fresh = fresh_questions(policy.config, 0)
    trained, graphs = (
        ask(of, fresh, []) for of in (TrainedPolicy(changed), GraphPolicy(folder / "policy", policy.config))
    )
    assert parity_row("onnx", "trained", graphs, trained, trained, 0.01).max_abs > 1e-4
    assert stream_row("stream", graphs, trained).failures()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "robot.json", "norm.json"])
def test_a_missing_file_is_named_before_anything_is_written(tmp_path, name):
    from ganglion.export.onnx_policy import export_policy

    write_policy(tmp_path / "trained")
    (tmp_path / "trained" / name).unlink()
    with pytest.raises(InputError, match=name):
        export_policy(tmp_path / "trained", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_policy_of_another_robot_is_refused(tmp_path):
    from ganglion.export.onnx_policy import export_policy

    seeing = RobotSpec("seeing", default_robot().cameras, (SENSOR,), ROBOT.actions)
    write_policy(tmp_path / "trained", seeing)
    with pytest.raises(InputError, match=r"disagree on cameras \(False, True\)"):
        export_policy(tmp_path / "trained", tmp_path / "bundle")


KINDS = {
    "no sensor": {"fusion": "none", "channel_groups": (), "state_dim": 3},
    "state and flow": {"head": "flow", "flow_steps": 2, "fusion": "gated", "state_dim": 3},
}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_kind_of_policy_is_exported_whole_and_can_be_served(tmp_path, changes, capsys):
    from ganglion.serving.policy.engine import PolicyEngine

    state = StateSpec(("q", "r", "s"), ("rad",) * 3, 50.0) if "state_dim" in changes else None
    sensors = (SENSOR,) if changes.get("channel_groups", True) else ()
    robot = RobotSpec("other", default_robot().cameras, sensors, ROBOT.actions, state)
    write_policy(tmp_path / "trained", robot, make_backbone(), **changes)
    assert main(["export", "--policy", str(tmp_path / "trained"), "--out", str(tmp_path / "bundle")]) == 0
    bundle = open_bundle(tmp_path / "bundle")
    rows = {row.stage: row for row in bundle.manifest.parity}
    assert 0 < rows["onnx"].max_abs <= 1e-4 and rows["onnx"].limits and not rows["onnx"].failures()
    assert ("stream" in rows) is bool(sensors)
    assert ("policy/sensor_stream.onnx" in bundle.manifest.files) is bool(sensors)
    with PolicyEngine.open(bundle) as engine:
        assert engine.robot == robot


def test_another_base_than_in_training_is_refused(tmp_path):
    from ganglion.export.onnx_policy import export_policy

    seeing = RobotSpec("seeing", default_robot().cameras, (SENSOR,), ROBOT.actions)
    write_policy(tmp_path, seeing, make_backbone())
    vl = json.loads((tmp_path / "vl.json").read_text())
    write_json(tmp_path / "vl.json", {**vl, "base_hash": "0" * 64})
    with pytest.raises(InputError, match="was trained on another base: 'offline:qwen2_vl"):
        export_policy(tmp_path, tmp_path / "bundle")
    del vl["vl_layer"]
    write_json(tmp_path / "vl.json", vl)
    with pytest.raises(InputError, match=r"vl.json: has no key 'vl_layer'"):
        export_policy(tmp_path, tmp_path / "bundle")


def test_the_exported_encoder_has_what_the_backbone_learned(tmp_path):
    from PIL import Image

    from ganglion.export.onnx_policy import export_policy
    from ganglion.export.prompts import Prompt, position_ids, vl_feeds
    from ganglion.model.backbone.finetune import finetune, learning
    from ganglion.model.backbone.options import FinetuneOptions

    seeing, backbone = RobotSpec("seeing", default_robot().cameras, (SENSOR,), ROBOT.actions), make_backbone()
    options, image = FinetuneOptions("lora", r=4), Image.new("RGB", (112, 84), "olive")
    torch.manual_seed(1)
    with torch.no_grad():
        before = backbone.features([[image]], ["Go."])[0]
        finetune(backbone, options)
        for _, value in learning(backbone):
            value.normal_(0, 0.1)
        tuned = backbone.features([[image]], ["Go."])[0]
    assert (tuned - before).abs().max() > 0.1
    write_policy(tmp_path / "trained", seeing, backbone)
    export_policy(tmp_path / "trained", tmp_path / "bundle")
    inputs = backbone.encode([[image]], ["Go."]).inputs
    prompt = Prompt(inputs, position_ids(backbone.model.get_base_model(), inputs))
    (found,) = session(tmp_path / "bundle", "vl_encoder.onnx").run(None, vl_feeds([prompt]))
    np.testing.assert_allclose(found, tuned.numpy(), atol=1e-5 * float(tuned.abs().max()), rtol=0)
    shutil.rmtree(tmp_path / "trained/backbone")
    with pytest.raises(InputError, match=r"trained/backbone: is missing: the backbone learned \(lora\)"):
        export_policy(tmp_path / "trained", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.fixture(scope="module")
def policy_bundle(tmp_path_factory):
    root = tmp_path_factory.mktemp("reuse")
    write_policy(root / "trained")
    assert main(["export", "--policy", str(root / "trained"), "--out", str(root / "bundle")]) == 0
    return root / "bundle"


def test_verify_asks_each_graph_again_and_finds_one_that_computes_something_else(policy_bundle, tmp_path, capsys):
    assert main(["export", "verify", str(policy_bundle)]) == 0
    out = capsys.readouterr().out
    assert "sensor_stream here" in out and "action_head here" in out and "every limit is kept" in out
    copied = shutil.copytree(policy_bundle, tmp_path / "bundle")
    manifest, path = open_bundle(copied).manifest, copied / "policy/sensor_stream.onnx"
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, path)
    seal_bundle(copied, manifest)
    assert main(["export", "verify", str(copied)]) == 1
    assert "policy sensor_stream here against exported: max_abs is" in capsys.readouterr().err
    (copied / "parity/policy.npz").unlink()
    seal_bundle(copied, manifest)
    assert main(["export", "verify", str(copied)]) == 1
    assert "parity/policy.npz: can't be read" in capsys.readouterr().err


def test_a_policy_is_taken_over_bit_by_bit_with_its_parity(policy_bundle, tmp_path):
    assert main(["export", "--policy", str(policy_bundle), "--out", str(tmp_path / "again")]) == 0
    before, after = open_bundle(policy_bundle).manifest, open_bundle(tmp_path / "again").manifest
    assert after.policy == before.policy
    assert after.robot == before.robot
    assert after.parity == before.parity != ()
    kept = {name: digest for name, digest in before.files.items() if name.startswith(("policy/", "norm"))}
    assert kept.items() <= after.files.items()


def test_a_bundle_without_the_part_is_refused(policy_bundle, tmp_path, capsys):
    assert main(["export", "--adapter", str(policy_bundle), "--out", str(tmp_path / "new")]) == 2
    assert "is a bundle without a vlm part" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_damaged_bundle_is_refused(policy_bundle, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(policy_bundle, damaged)
    with (damaged / "policy/action_head.onnx").open("r+b") as file:
        file.write(b"x")
    assert main(["export", "--policy", str(damaged), "--out", str(tmp_path / "new")]) == 1
    assert "action_head.onnx" in capsys.readouterr().err
