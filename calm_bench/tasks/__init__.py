"""Data sets: which columns become prompt, target and references. One file each, built from conf/task/NAME.yaml."""
