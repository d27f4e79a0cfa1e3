"""`ganglion quickstart`: data -> training -> export -> bundle -> serving -> bridge -> report, on this machine."""
