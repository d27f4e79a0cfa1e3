"""What each graph of a policy answers where its bundle is made, for `ganglion export verify` and for figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganglion.export.graph_cases import GraphCase
from ganglion.export.policy_questions import Question
from ganglion.export.policy_stages import GraphPolicy
from ganglion.export.policy_vl import VL_ENCODER, PolicyViews
from ganglion.export.prompts import vl_feeds
from ganglion.export.sessions import open_onnx
from ganglion.model.policy.context import context_fields

_HOPS = 3  # of one sample after the other, after a window


def policy_cases(folder: Path, stage: GraphPolicy, asked: Question, views: PolicyViews | None) -> list[GraphCase]:
    """Calls of every graph in a folder, along one question: a window and then hops of it, decisions, pictures.

    Args:
        folder: holds the graphs.
        stage: these graphs.
        asked: a question with its first decision after a window.
        views: of a policy with cameras.
    """
    cases = []
    if asked.samples is not None and asked.present is not None:
        cases += _stream_cases(folder / "sensor_stream.onnx", stage, asked)
    for fields, noise in list(zip(asked.fields(stage), asked.noise, strict=True))[:2]:
        feeds = {name: fields[name].astype(np.float32) for name in context_fields(stage.config)}
        cases.append(
            _case(folder / "action_head.onnx", "a decision", feeds | ({} if noise is None else {"noise": noise}))
        )
    if views:
        pictures = vl_feeds(views.prompts[:1])
        cases.append(_case(folder / VL_ENCODER, f"pictures of {pictures['pixel_values'].shape[1]} patches", pictures))
    return cases


def _stream_cases(path: Path, stage: GraphPolicy, asked: Question) -> list[GraphCase]:
    assert asked.samples is not None and asked.present is not None
    config, cases = stage.config, []
    window, hop = config.window_frames, config.hop_samples
    feeds = stage.feeds(asked.samples[:, : window * hop], asked.present[:, :window])
    for at in range(window, window + _HOPS + 1):
        of = "a window of " if at == window else "one hop of "
        cases.append(_case(path, of + f"{feeds['samples'].shape[1]} samples", feeds))
        after = {name.removesuffix("_out"): value for name, value in cases[-1].answers.items() if name != "frames"}
        samples, present = asked.samples[:, at * hop : (at + 1) * hop], asked.present[:, at : at + 1]
        feeds = {"samples": samples, "present": present, **after}
    return cases[::-1]  # a hop first: that is what figures are of


def _case(path: Path, of: str, feeds: Mapping[str, Any]) -> GraphCase:
    session = open_onnx(path)
    names = [output.name for output in session.get_outputs()]
    return GraphCase(path.stem, of, feeds, dict(zip(names, session.run(names, dict(feeds)), strict=True)))
