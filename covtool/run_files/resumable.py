"""Whether a folder is that of a run which can go on."""

import os
from pathlib import Path

from covtool.errors import ArgumentError
from covtool.run_files.names import ARGUMENTS


def require_resumable(path: Path) -> None:
    """Refuse a folder that does not have the arguments of a run.

    Raises:
        ArgumentError: It does not, or there is none.
    """
    needed = path / ARGUMENTS
    if not os.path.lexists(needed):
        raise ArgumentError(
            f"{path} is not a run that can be resumed.",
            reason=f"{needed} is missing.",
            hint="Give the folder that holds args.yaml, as printed when the run started.",
        )
