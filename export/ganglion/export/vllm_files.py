"""What vLLM asks of a checkpoint's folder beyond what training and evaluation read."""

from __future__ import annotations

import json
from pathlib import Path

_VIDEO = {
    "qwen2_vl": "Qwen2VLVideoProcessor",
    "qwen2_5_vl": "Qwen2VLVideoProcessor",
    "qwen3_vl": "Qwen3VLVideoProcessor",
}
_FILE = "video_preprocessor_config.json"


def write_video_settings(folder: Path) -> None:
    """Write the video settings that a Qwen-VL's folder lacks, after its images'; does nothing where there are some.

    vLLM builds the whole processor, its video part too, whether or not a video will ever come.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    nested = folder / "processor_config.json"
    if kind not in _VIDEO or (folder / _FILE).is_file() or (folder / "preprocessor_config.json").is_file():
        return
    settings = json.loads(nested.read_text(encoding="utf-8")) if nested.is_file() else {}
    if "video_processor" in settings or "image_processor" not in settings:
        return
    video = {key: value for key, value in settings["image_processor"].items() if key != "image_processor_type"}
    video["video_processor_type"] = _VIDEO[kind]
    (folder / _FILE).write_text(json.dumps(video, indent=2, sort_keys=True) + "\n", encoding="utf-8")
