"""Engines that load a bundle and answer: a policy for one robot or many, and the instruction VLM. No torch."""
