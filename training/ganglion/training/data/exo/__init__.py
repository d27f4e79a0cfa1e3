"""Synthetic rows of exo_assist and exo_dialogue: terrain images, distances and replies."""
