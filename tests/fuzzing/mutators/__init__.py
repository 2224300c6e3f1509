"""How files are damaged: tables of functions from bytes and a generator to bytes."""
