"""What every test shares. Set before anything imports torch or a hub client."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("COLUMNS", "160")
# The networks are tiny: threads of one test would only wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
