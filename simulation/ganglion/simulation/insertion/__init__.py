"""Needle insertion into layered silicone: the robot to try a policy on in closed loop, on a virtual clock.

    case.py      draw_case: all that varies from episode to episode, and the robot's spec
    tissue.py    what the layers do to the needle: membranes, friction, where their interfaces are
    optics.py    what the A-scan shows of them
    scene.py     the robot, the block and its marks as MuJoCo's XML
    world.py     Insertion: actions in, samples and frames out
    expert.py    what an expert does who knows all of it
    outcome.py   whether an episode succeeded
    scenario.py  all of it under one name

Import from the modules; this one stays light. docs/explanation/simulation.md says what it claims and what it does not.
"""
