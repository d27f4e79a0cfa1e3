"""Trained policies in simulated worlds, several at once: success in closed loop, not validation loss.

    driver.py    Driver: a policy that drives B robots hop by hop
    rollout.py   roll_out: B worlds and a driver, under what may go wrong
    walks.py     walk_all: B wearers of an exoskeleton, a model that looks and a device that helps
    paired.py    paired_difference: what one of two treatments of the same trials is worth

Import from the modules; this one stays light.
"""
