"""`ganglion export drift`: what merging an adapter costs, each way of it beside the others, and which to take.

QLoRA's adapter learned on a base whose weights had gone through 4 bits. Merged into those it computes the same; put on
the base as published, it meets other weights than it knows; merged in 4 bits, the sum is rounded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ganglion.core.errors import InputError
from ganglion.core.manifest import ParityRow
from ganglion.core.paths import write_json
from ganglion.export.card import parity_lines
from ganglion.export.config import ExportConfig
from ganglion.export.drift_config import DriftConfig
from ganglion.export.gates import MERGED_AGREEMENT, METRIC_LOSS
from ganglion.export.merge import load_merged, load_trained, merge_in_4_bits, merged_once, open_adapter
from ganglion.export.quiet import quiet
from ganglion.export.stages import Stages
from ganglion.export.targets import FLOAT32
from ganglion.export.weights import make_skeleton
from ganglion.model.checkpoint import checkpoint_folder
from ganglion.model.processor import load_processor


def run(config: DriftConfig) -> None:
    """Print a row for each merge, and the recommendation.

    Raises:
        InputError: the adapter, its base or the data can't be used.
    """
    if config.parity_samples < 1 or (config.data_limit or 1) < 1:
        raise InputError("--parity_samples and --data_limit are 1 or more", remedy="correct them")
    quiet()
    adapter = open_adapter(config.adapter, config.base)
    skeleton = make_skeleton(checkpoint_folder(adapter.base))
    processor = load_processor(adapter.base, adapter.run.get("max_pixels"))
    asked = ExportConfig(
        adapter=config.adapter, data=config.data, data_limit=config.data_limit, parity_samples=config.parity_samples
    )
    stages = Stages(asked, adapter, skeleton, processor, lambda doing: None)
    stages.begin(load_trained(adapter).get_base_model())
    trained = stages.last
    for name in ("exact", "original"):
        stages.compare_with(trained)
        with merged_once(adapter, name) as weights:
            stages.follow(load_merged(weights), f"merged {name}", FLOAT32)
    if adapter.quantization == "nf4":
        stages.compare_with(trained)
        stages.follow(merge_in_4_bits(adapter), "merged in 4 bits", FLOAT32)
    advice = recommendation(stages.rows)
    print("\n".join([*parity_lines(stages.rows), "", advice]))
    if config.report:
        write_json(config.report, {"rows": [asdict(row) for row in stages.rows], "recommendation": advice})


def recommendation(rows: Sequence[ParityRow]) -> str:
    """Which merge to take: the exact one, unless the original base is as good, which then can be shared."""
    exact, original = rows[0], rows[1]
    change = next((float(value) for name, value in original.metrics.items() if name.endswith("_change")), None)
    agreement = float(original.metrics["argmax_agreement"])
    as_good = agreement >= MERGED_AGREEMENT and (change is None or change >= -METRIC_LOSS["float32"])
    cost = f"{agreement:.1%} of tokens as trained" + ("" if change is None else f", metric {change:+.3f}")
    if as_good and change is not None:
        return f"--merge original is as good ({cost}): the adapter can also be served beside the base, --merge none"
    if as_good:
        return f"--merge exact; the original base may be as good ({cost}): give --data to know"
    return f"--merge exact ({float(exact.metrics['argmax_agreement']):.1%} of tokens as trained); the original: {cost}"
