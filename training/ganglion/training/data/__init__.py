"""Data files: making synthetic ones, importing others', checking and measuring given ones."""
