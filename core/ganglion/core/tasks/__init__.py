"""The task registry: what a model can be asked, as data."""

from ganglion.core.tasks.answers import read_answer, write_answer
from ganglion.core.tasks.chat import CHAT
from ganglion.core.tasks.chess_board import CHESS_BOARD
from ganglion.core.tasks.conversation import read_example
from ganglion.core.tasks.dialogues import by_row, dialogues_in, unrolled
from ganglion.core.tasks.exo_assist import EXO_ASSIST
from ganglion.core.tasks.exo_dialogue import ExoDialogue
from ganglion.core.tasks.gui_step import GUI_STEP
from ganglion.core.tasks.lazy import LazyExamples
from ganglion.core.tasks.registry import get_task, register_task, task_names
from ganglion.core.tasks.robot_code import ROBOT_CODE
from ganglion.core.tasks.task import Example, RowError, Sequential, Task, Turn
from ganglion.core.tasks.vote import read_by_task, vote

__all__ = [
    "CHAT",
    "CHESS_BOARD",
    "EXO_ASSIST",
    "GUI_STEP",
    "ROBOT_CODE",
    "Example",
    "ExoDialogue",
    "LazyExamples",
    "RowError",
    "Sequential",
    "Task",
    "Turn",
    "by_row",
    "dialogues_in",
    "get_task",
    "read_answer",
    "read_by_task",
    "read_example",
    "register_task",
    "task_names",
    "unrolled",
    "vote",
    "write_answer",
]
