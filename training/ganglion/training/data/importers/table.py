"""All kinds of data that can be brought in."""

from __future__ import annotations

from ganglion.core.rows import csv_rows
from ganglion.training.data.importers.bfcl import bfcl_rows
from ganglion.training.data.importers.calvin import CALVIN_FILES, calvin_parts
from ganglion.training.data.importers.chess_diagrams import chess_diagram_rows
from ganglion.training.data.importers.conversations import conversations, list_or_lines
from ganglion.training.data.importers.huggingface import huggingface
from ganglion.training.data.importers.importer import DATA, DemonstrationImporter, Importer, of_path
from ganglion.training.data.importers.messages import messages
from ganglion.training.data.importers.screenagent import screenagent_rows
from ganglion.training.demonstrations.oct_needle_pose import oct_needle_pose
from ganglion.training.demonstrations.recordings import Recordings, RecordingsRequest
from ganglion.training.demonstrations.rlds.source import rlds


def _lerobot(request: RecordingsRequest) -> Recordings:
    from ganglion.training.demonstrations.lerobot.importing import lerobot  # PyAV and pyarrow load slowly

    return lerobot(request)


IMPORTERS: dict[str, Importer | DemonstrationImporter] = {
    "json": Importer(lambda request: {DATA: list_or_lines(request)}, options=("image_base_dir",)),
    "csv": Importer(
        lambda request: {DATA: csv_rows(request.source, request.task.from_table)}, options=("image_base_dir",)
    ),
    "conversations": Importer(conversations, task="chat", options=("image_base_dir",)),
    "messages": Importer(messages, task="chat", options=("image_base_dir",)),
    "hf": Importer(huggingface, options=("image_base_dir", "split", "columns")),
    "screenagent": Importer(of_path(screenagent_rows), task="gui_step", fixed=True),
    "chess_diagrams": Importer(of_path(chess_diagram_rows), task="chess_board", fixed=True),
    "bfcl": Importer(of_path(bfcl_rows), task="robot_code", fixed=True),
    "calvin": Importer(calvin_parts, task="robot_code", fixed=True, beside=CALVIN_FILES),
    "rlds": DemonstrationImporter(rlds, options=("robot", "rate_hz", "split", "columns", "session")),
    "lerobot": DemonstrationImporter(_lerobot, options=("robot",)),
    "oct_needle_pose": DemonstrationImporter(oct_needle_pose),
}
