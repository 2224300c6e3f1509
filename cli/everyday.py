"""The options that ``--help`` shows of the commands with many: `EVERYDAY`.

An option is seldom used when it is not in its command's table: ``--help-all`` shows it, the shell
completes it, and it works like any other. A command without a table shows all of its options, and
one with more than `MOST_SHOWN` needs a table.
"""

MOST_SHOWN = 28
"""Options that ``--help`` shows at most; those for help and scripts are in it."""

LAST = "Help and scripts"
"""Title of the panel of the options that every command has."""

OF_EVERY_COMMAND = ("json", "debug", "help", "help_all")
"""Names, without dashes, of the options in the panel `LAST`."""

_DATA = ("data", "resume", "init_from", "new_classifier", "preset", "config")
_SPEED = ("device", "workers", "amp")
_RESULTS = ("output", "experiment", "report", "dry_run")

EVERYDAY: dict[str, dict[str, tuple[str, ...]]] = {
    "compare": {
        "Images": ("data", "img_size", "calibrate_images"),
        "What is compared": ("head", "tap", "pairs"),
        "Results": ("output", "csv", "convert", "work", "wide", "overwrite"),
        "Speed and device": ("batch_size", "workers", "device", "memory"),
    },
    "convert": {
        "Surgery": ("head", "conv", "tap", "reduction", "dim", "fuse"),
        "Classes and images": ("data", "num_classes", "calibrate", "img_size"),
        "Results": ("output", "plan", "recipe", "config", "overwrite"),
        "Speed and device": ("batch_size", "workers", "device"),
    },
    "finetune": {
        "Model and data": _DATA,
        "Training": (
            *("epochs", "batch_size", "lr", "opt", "weight_decay", "smoothing", "freeze_epochs"),
            *("resolve_head", "gc", "seed"),
        ),
        "Images": ("img_size",),
        "Speed and device": _SPEED,
        "Results": _RESULTS,
    },
    "svdnet-rri": {
        "Model and data": _DATA,
        "Restraint and relaxation": (
            *("rri", "base_epochs", "restraint_epochs", "relaxation_epochs", "lrs"),
        ),
        "Training": ("batch_size", "opt", "weight_decay", "gc", "seed"),
        "Speed and device": _SPEED,
        "Results": _RESULTS,
    },
    "data": {
        "What is looked for": ("model", "predictions", "quick", "near", "suspect_margin", "strict"),
        "Images": ("task", "labels", "crop", "class_folders"),
        "Results": ("report", "csv", "write_clean", "overwrite"),
        "Speed and device": ("batch_size", "workers", "device"),
        "Files": ("config",),
    },
    "evaluate": {
        "Images": ("data", "task", "split", "img_size", "class_names"),
        "What is measured": ("per_class", "confusion", "unknown", "attack"),
        "Retrieval": ("rerank", "flip_test", "save_ranks", "save_features"),
        "Speed and device": ("batch_size", "workers", "device", "amp"),
        "Results": ("report", "save_mistakes", "overwrite"),
        "Files": ("config",),
    },
    "predict": {
        "Answers": ("top_k", "threshold", "max_distance", "tta", "class_names"),
        "Results": ("output", "embeddings", "sheet", "resume", "on_bad_image", "overwrite"),
        "Images": ("img_size",),
        "Speed and device": ("batch_size", "workers", "device", "amp"),
        "Files": ("config",),
    },
    "embed": {
        "Images": ("split", "img_size", "on_bad_image"),
        "Features": ("feature", "flip_test"),
        "Results": ("output", "overwrite"),
        "Speed and device": ("batch_size", "workers", "device", "amp"),
        "Files": ("config",),
    },
    "export": {
        "Format": ("format", "preprocess", "half", "int8", "root", "opset"),
        "Proof": ("data", "calibrate", "images", "tolerance"),
        "Results": ("output", "overwrite"),
        "Files": ("config",),
    },
}
"""By command: titles of panels, with the names of their options' parameters."""
