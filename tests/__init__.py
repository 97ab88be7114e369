"""The hub client reads its offline switch when it is imported, so it is set before anything else."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
