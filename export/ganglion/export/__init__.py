"""Merge, ONNX, parity and the bundle: what training wrote becomes what servers load."""
