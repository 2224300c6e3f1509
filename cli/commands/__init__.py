"""One module per command, with one function of the command's name; `main.COMMANDS` lists them."""
