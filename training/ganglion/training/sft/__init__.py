"""Supervised fine-tuning of a vision-language model on a task's data file, with QLoRA."""
