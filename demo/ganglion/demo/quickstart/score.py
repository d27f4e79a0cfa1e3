"""Answers a data file with the exported VLM, as a robot would be served: constrained to the task's schema.

python -m ganglion.demo.quickstart.score BUNDLE DATA OUT PART PARTS    answers every PARTS-th example, from PART on
"""

from __future__ import annotations

import sys
from pathlib import Path

from ganglion.core.bundle import open_bundle
from ganglion.core.datafile import read_datafile
from ganglion.core.paths import write_json
from ganglion.core.tasks import get_task
from ganglion.serving.vlm.answer import answer_examples
from ganglion.serving.vlm.engine import VlmEngine


def main(bundle: str, data: str, out: str, part: str, parts: str) -> None:
    """Write {index of example: answer} to OUT."""
    opened = open_bundle(Path(bundle))
    assert opened.manifest.vlm is not None
    task = get_task(opened.manifest.vlm.task)
    examples = read_datafile(Path(data), task)
    mine = range(int(part), len(examples), int(parts))
    answers = answer_examples(VlmEngine.open(opened), task, [examples[index] for index in mine])
    write_json(Path(out), {str(index): answer for index, answer in zip(mine, answers, strict=True)})


if __name__ == "__main__":
    main(*sys.argv[1:])
