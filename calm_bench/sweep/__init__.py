"""A W&B sweep file without a server: `file.py` reads it, `trials.py` draws its trials, `__main__.py` runs them."""
