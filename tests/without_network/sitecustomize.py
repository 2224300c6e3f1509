"""Found by every Python process that a test starts: it has no network either."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import no_network

sys.path.pop()
no_network.refuse()
