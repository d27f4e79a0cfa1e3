"""Synthetic chess boards: positions, how boards look, and their rendering."""
