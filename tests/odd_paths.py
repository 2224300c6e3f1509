"""What may stand where a file should."""

import os


def put(kind, path):
    """Make a pipe, a device, a folder or a link to itself at `path`; anything else is left out."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
