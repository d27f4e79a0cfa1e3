"""Scoring an adapter on a task's data file, with the untuned base beside it."""
