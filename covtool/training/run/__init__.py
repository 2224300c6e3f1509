"""A run and what it leaves behind: state, folder, logs, observer, end."""
