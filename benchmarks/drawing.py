"""The engine, greedy by itself, draws its tokens at temperature 1; also in the Triton that the command starts.

python benchmarks/drawing.py SEED serve vlm BUNDLE --backend triton ...
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np


def draw_at_temperature_1(seed: int) -> None:
    """Have the engine's choice of a token draw it: the best of logits with Gumbel noise on them."""
    from ganglion.serving.vlm.grammar import Constraint

    best, random, lock = Constraint.choose, np.random.default_rng(seed), threading.Lock()

    def drawn(self: Constraint, logits: Any, closing: bool) -> int:
        with lock:
            noise = random.gumbel(size=len(logits)).astype(np.float32)
        return best(self, logits + noise, closing)

    Constraint.choose = drawn  # type: ignore[method-assign]


def main() -> int:
    """`ganglion`, whose model in Triton draws."""
    from ganglion.core import cli
    from ganglion.serving.triton import vlm_repository

    seed, lead_to = int(sys.argv[1]), vlm_repository.lead_to
    lines = f"sys.path.append({str(Path(__file__).parent)!r})\nimport drawing\ndrawing.draw_at_temperature_1({seed})\n"
    vlm_repository.lead_to = lambda module: f"{lead_to(module)}import sys\n{lines}"
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
