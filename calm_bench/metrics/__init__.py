"""Text metrics, one file each; for Hugging Face's `evaluate`, `hugging_face.Evaluated` wraps one."""
