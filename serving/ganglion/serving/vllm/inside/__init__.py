"""What runs within vLLM's own process; this folder, and no other of ours, is put on its path."""
