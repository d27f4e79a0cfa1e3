"""Dialogues as a model reads and writes them: rows to tokens and patches, to batches, and the answers to them."""
