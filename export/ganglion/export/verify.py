"""`ganglion export verify BUNDLE`: what was measured when a bundle was made, again on this machine.

ONNX needs neither torch nor transformers for it; a checkpoint does, and the answers to `--data` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.manifest import ParityRow, VlmPart
from ganglion.core.paths import write_json
from ganglion.export.card import parity_lines
from ganglion.export.graph_cases import read_cases
from ganglion.export.references import Reference, read_references
from ganglion.export.sessions import open_onnx
from ganglion.export.verify_config import VerifyConfig

# Against the machine that exported. The same float32 sums, in another order at most; with fewer bits an activation at
# the edge between two of its steps may fall to the other side.
_SAME = {"float32": 1e-4, "other": 5e-2}
Floats = npt.NDArray[np.float32]
Logits = Callable[[Reference], Floats]
"""A reference -> the logits (P, V) of its positions."""


def run(config: VerifyConfig) -> int:
    """Print the rows that the bundle came with and those measured here; 1 if a gate is not kept.

    Raises:
        BundleError: the bundle is damaged.
        InputError: an option doesn't fit it.
    """
    bundle = open_bundle(config.bundle)
    if config.data and not bundle.manifest.vlm:
        raise InputError("--data given, and the bundle holds no VLM", where=config.bundle, remedy="leave it out")
    here = [*_verify_vlm(bundle, config), *_verify_policy(bundle)]
    rows = [*bundle.manifest.parity, *here]
    print("\n".join(parity_lines(rows)))
    failed = [f"{row.part} {row.stage} against {row.against}: {reason}" for row in rows for reason in row.failures()]
    if config.report:
        write_json(config.report, {"rows": [row.__dict__ for row in rows], "failed": failed})
    if failed:
        raise GanglionError("; ".join(failed), where=config.bundle, remedy="don't deploy it; export it again")
    print(f"verified: {len(bundle.manifest.files)} files, {len(rows)} rows, every limit is kept")
    return 0


def _verify_vlm(bundle: Bundle, config: VerifyConfig) -> Iterator[ParityRow]:
    part = bundle.manifest.vlm
    if part is None:
        return
    references = read_references(bundle.path("parity/vlm.npz"))
    model, ask = _opened(bundle, part, config.base)
    row = _compared(part, references, ask)
    if config.data:
        from ganglion.export.verify_data import scored

        row = scored(row, bundle, part, model, config.data, config.data_limit)
    yield row


def _opened(bundle: Bundle, part: VlmPart, base: str | None) -> tuple[Any, Logits]:
    if part.form == "onnx":
        from ganglion.export.onnx_runner import OnnxVlm

        graphs = OnnxVlm(bundle.path("vlm"))
        return graphs, lambda reference: _graph_logits(graphs, reference)
    from ganglion.export.quiet import quiet
    from ganglion.export.verify_checkpoint import checkpoint_logits, open_model

    quiet()
    model = open_model(bundle, part, base)
    return model, lambda reference: checkpoint_logits(model, reference)


def _graph_logits(graphs: Any, reference: Reference) -> Floats:
    steps, positions = len(reference.tokens), len(reference.at)
    tokens = [int(token) for token in reference.tokens]
    found = graphs.logits(reference.inputs, reference.position_ids, steps, tokens, last=positions - steps)
    return np.concatenate([logits[0] for logits in found])


def _compared(part: VlmPart, references: Sequence[Reference], ask: Logits) -> ParityRow:
    apart, agreed = [], []
    for reference in references:
        logits = ask(reference)
        found = np.take_along_axis(logits, reference.at, -1)
        apart.append(float(np.abs(found - reference.exported).max()))
        agreed.append(logits.argmax(-1) == reference.at[:, 0])
    largest = float(np.max(apart))  # NaN where a logit is, which max() might not see
    scale = max(reference.largest for reference in references)
    metrics = {"max_rel": largest / scale, "argmax_as_trained": float(np.concatenate(agreed).mean())}
    return ParityRow("vlm", "here", "exported", len(references), largest, metrics, {"max_rel": _same(part.precision)})


def _verify_policy(bundle: Bundle) -> Iterator[ParityRow]:
    part = bundle.manifest.policy
    if part is None:
        return
    cases = read_cases(bundle.path("parity/policy.npz"))
    for graph in dict.fromkeys(case.graph for case in cases):
        session = open_onnx(bundle.path(f"policy/{graph}.onnx"))
        mine = [case for case in cases if case.graph == graph]
        apart = [_apart(session, case.feeds, case.answers) for case in mine]
        row = ParityRow("policy", f"{graph} here", "exported", len(mine), float(np.max(apart)))
        parts = ("language", "vision") if graph == "vl_encoder" else ("head",)
        yield replace(row, limits={"max_abs": _same({name: part.precision[name] for name in parts})})


def _apart(session: Any, feeds: Mapping[str, Any], answers: Mapping[str, Any]) -> float:
    found = dict(zip(answers, session.run(list(answers), dict(feeds)), strict=True))
    return float(np.max([np.abs(found[name].astype(np.float64) - answers[name]).max() for name in answers]))


def _same(precision: Mapping[str, str]) -> float:
    return _SAME["float32" if set(precision.values()) == {"float32"} else "other"]
