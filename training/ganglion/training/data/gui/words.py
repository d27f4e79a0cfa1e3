"""The closed vocabulary of synthetic GUI episodes: all that a reader of the screens has to be able to read."""

from __future__ import annotations

CODES = (
    *("cedar", "eagle", "flame", "grape", "honey", "jewel", "lemon", "maple"),
    *("north", "ocean", "pearl", "raven", "stone", "tiger", "umbra", "zebra"),
)
DEVICES = ("Mute", "Light", "Lock", "Fan", "Heat", "Alarm", "Radio", "Pump")
COUNTERS = ("Plus", "Minus", "Left", "Right")
COMMANDS = ("Save", "Next", "Confirm", "Submit", "Send", "Open", "Print")
ANSWERS = ("OK", "Yes", "No")
TABS = ("One", "Two")
BUTTONS = DEVICES + COUNTERS + COMMANDS + ANSWERS + TABS
FIELDS = ("Name", "Team", "City", "Key", "Room", "Seat", "Gate", "Floor")
TIMES = {1: ("once",), 2: ("twice", "two times", "2 times"), 3: ("three times", "3 times")}
