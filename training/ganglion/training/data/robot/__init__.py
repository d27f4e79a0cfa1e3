"""Synthetic rows of robot_code: sentences and the programs that they ask for."""
