"""The instruction VLM on ONNX Runtime: image preprocessing, chat prompt, positions, constrained greedy decoding.

image bytes -> preprocess -> vision.onnx ┐
text -> chat -> prompt -> embed.onnx ────┴─> decoder.onnx, step by step within a grammar -> text

`ganglion.serving.vlm.engine:VlmEngine` does all of it; a policy uses preprocess and prompt by themselves. Several
requests are written together: question -> answering -> scheduler, whose calls of the decoder joined.py shares out.
"""
