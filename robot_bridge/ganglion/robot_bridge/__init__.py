"""The robot's side: acquisition, ring, sender, sink. Imports numpy and Pillow only; see `bridge.Bridge`."""
