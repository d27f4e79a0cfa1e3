"""An adapter scored on several data files: what the benchmarks of single tasks share."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import GanglionError
from ganglion.training.evaluate.config import EvaluateConfig
from ganglion.training.evaluate.report import table
from ganglion.training.evaluate.run import evaluate


def score(adapter: Path, files: Mapping[str, Path], **options: Any) -> dict[str, Any]:
    """Scores by the name of the check, printed as they come.

    Args:
        adapter: folder that 'ganglion train sft' wrote.
        files: data by the name of the check.
        options: others of EvaluateConfig.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            found[name] = evaluate(EvaluateConfig(adapter=adapter, data=data, out=Path(folder) / name, **options))
            print(f"{name}\n{table(found[name])}\n")
    return found


def exit_code(main: Callable[[], None]) -> int:
    """Run a benchmark; what is wrong with its input is one line."""
    try:
        main()
    except GanglionError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
