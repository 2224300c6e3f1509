"""What a call may cost. docs/hostile-input.md states the same numbers; a test holds it to them."""

MEBIBYTE = 1 << 20

SECONDS = 20.0
"""Processor time that a call may take, in seconds."""

IDLE_SECONDS = 15.0
"""Time on the wall, in seconds, without any processor time, from which on a call hangs."""

WAITING_SECONDS = 120.0
"""Time on the wall, in seconds, that a call may take, whatever else the processor has to do."""

MEMORY_MIB = 1024
"""Memory that a call may take beyond what the process had, in MiB, whatever the files."""

MEMORY_PER_BYTE = 4
"""Bytes of memory that a call may take beyond that for each byte of its files."""

ERROR_CHARACTERS = 16_384
"""Characters that a refusal may put on stderr; names from files are cut."""


def memory_bytes(size: int) -> int:
    """Bytes of memory that a call may take for files of `size` bytes."""
    return MEMORY_MIB * MEBIBYTE + MEMORY_PER_BYTE * size
