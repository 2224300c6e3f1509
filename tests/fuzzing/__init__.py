"""A seeded fuzzer: files of every kind that covtool reads are damaged, read, and judged.

`kinds` says which files there are and which calls read them, `mutators` how they are damaged,
`judging` what a call may do then. `python -m fuzzing --help`, with this folder's parent on the
path; `make fuzz` does.
"""
