"""Data files: rendering synthetic ones, checking given ones."""
