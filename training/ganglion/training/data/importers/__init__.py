"""Data by others, row by row, in the form of the task it is for."""
