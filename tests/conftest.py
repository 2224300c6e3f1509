"""What every test shares. Set before anything imports a hub client."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("COLUMNS", "160")
