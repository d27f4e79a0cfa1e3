"""Synthetic GUI episodes: what happens in them, and screens drawn with Pillow."""
