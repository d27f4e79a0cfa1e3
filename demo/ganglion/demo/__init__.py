"""What people look at: the quickstart and its report. May use every other room; nothing imports it."""
