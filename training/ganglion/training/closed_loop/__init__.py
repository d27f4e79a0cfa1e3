"""Trained policies in simulated worlds, several at once: success in closed loop, not validation loss.

    driver.py    Driver: a policy that drives B robots hop by hop
    rollout.py   roll_out: B worlds and a driver, under what may go wrong

Import from the modules; this one stays light.
"""
