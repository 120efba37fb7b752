"""The stages of a run, one file each: plain values in, plain values out. `experiment.py` strings them together."""
