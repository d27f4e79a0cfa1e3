"""Data by others, brought to the canonical form: a table of kinds, and one way in which all of them are written."""
