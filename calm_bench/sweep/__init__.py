"""A W&B sweep file without a server: `file.py` reads it, `trials.py` draws its trials, `command.py` runs them."""
