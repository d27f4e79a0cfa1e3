"""The closed vocabulary of synthetic GUI episodes: all that a reader of the screens has to be able to read."""

from __future__ import annotations

CODES = (
    *("amber", "cedar", "coral", "eagle", "flame", "grape", "honey", "ivory", "jewel", "lemon", "maple", "north"),
    *("ocean", "pearl", "quartz", "raven", "river", "solar", "stone", "tiger", "umbra", "violet", "wheat", "zebra"),
)
DEVICES = ("Mute", "Light", "Lock", "Fan", "Heat", "Alarm", "Radio", "Pump")
COUNTERS = ("Plus", "Minus", "Left", "Right")
COMMANDS = ("Save", "Next", "Confirm", "Submit", "Send", "Open", "Print")
ANSWERS = ("OK", "Yes", "No")
TABS = ("One", "Two")
BUTTONS = DEVICES + COUNTERS + COMMANDS + ANSWERS + TABS
WORD_FIELDS = ("Name", "Team", "City", "Key")
NUMBER_FIELDS = ("Room", "Seat", "Gate", "Floor")
FIELDS = WORD_FIELDS + NUMBER_FIELDS
NUMBERS = tuple(str(number) for number in range(2, 10))
TIMES = {1: ("once",), 2: ("twice", "two times", "2 times"), 3: ("three times", "3 times")}


def values_of(field: str) -> tuple[str, ...]:
    """What may be entered in a field."""
    return NUMBERS if field in NUMBER_FIELDS else CODES
