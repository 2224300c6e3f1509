"""What was meant by a name that does not exist: the words of other trainers, then the nearest."""

from collections.abc import Iterable
from difflib import get_close_matches

SYNONYMS: dict[str, tuple[str, ...]] = {
    # options, as timm, torchvision, ultralytics, MMPretrain, Lightning and transformers call them
    "accumulategradbatches": ("grad-accum-steps",),
    "accumulationsteps": ("grad-accum-steps",),
    "architecture": ("arch",),
    "augmentation": ("aug",),
    "autoaugment": ("aa",),
    "bs": ("batch-size",),
    "checkpoint": ("model", "resume", "init-from"),
    "ckpt": ("model", "resume", "init-from"),
    "clipgradnorm": ("clip-grad",),
    "compile": ("torchcompile",),
    "confusionmatrix": ("confusion",),
    "datadir": ("data",),
    "datapath": ("data",),
    "dataset": ("data",),
    "earlystopping": ("patience",),
    "ema": ("model-ema",),
    "evalbatchsize": ("batch-size",),
    "fp16": ("amp", "half", "float16"),
    "force": ("overwrite",),
    "gpu": ("device", "cuda"),
    "gpus": ("nproc", "device"),
    "gradientaccumulationsteps": ("grad-accum-steps",),
    "gradientcheckpointing": ("grad-checkpointing",),
    "gradientclipping": ("clip-grad",),
    "imagesize": ("img-size",),
    "imgsz": ("img-size",),
    "initialcheckpoint": ("init-from",),
    "inputsize": ("img-size",),
    "labelsmoothing": ("smoothing",),
    "learningrate": ("lr",),
    "lr0": ("lr",),
    "lrfinder": ("find-lr",),
    "lrscheduler": ("sched",),
    "lrschedulertype": ("sched",),
    "maxepochs": ("epochs",),
    "maxgradnorm": ("clip-grad",),
    "mixedprecision": ("amp",),
    "nepochs": ("epochs",),
    "nprocpernode": ("nproc",),
    "numepochs": ("epochs",),
    "numtrainepochs": ("epochs",),
    "numworkers": ("workers",),
    "optim": ("opt",),
    "optimizer": ("opt",),
    "outdir": ("output",),
    "outputdir": ("output",),
    "precision": ("amp", "dtype", "half"),
    "projectname": ("experiment",),
    "randomerase": ("reprob",),
    "randomerasing": ("reprob",),
    "resolution": ("img-size",),
    "rundir": ("output",),
    "savedir": ("output",),
    "scheduler": ("sched",),
    "testtimeaugmentation": ("tta",),
    "valsplit": ("val-fraction",),
    "validationsplit": ("val-fraction",),
    "warmup": ("warmup-epochs",),
    "warmupsteps": ("warmup-epochs",),
    "wd": ("weight-decay",),
    "worldsize": ("nproc",),
    # heads and operators, as their papers and repositories call them
    "avg": ("gap",),
    "average": ("gap",),
    "avgpool": ("gap",),
    "bcnn": ("bilinear",),
    "covariance": ("cov",),
    "compactbilinear": ("cbp",),
    "isqrtcov": ("isqrt",),
    "maxpool": ("gmp",),
    "mpncov": ("mpn",),
    "ws": ("weight-standardized",),
    # values
    "bf16": ("bfloat16",),
    "bceloss": ("bce",),
    "constantlr": ("constant",),
    "cosineannealing": ("cosine",),
    "cosineannealinglr": ("cosine",),
    "crossentropy": ("ce",),
    "softmax": ("ce",),
    "fp32": ("float32",),
    "fp64": ("float64",),
    "half": ("float16",),
    "double": ("float64",),
    "l2": ("euclidean",),
    "map": ("mAP",),
    "multisteplr": ("multistep",),
    "polynomial": ("poly",),
    "r1": ("rank1",),
    "randomidentitysampler": ("pk",),
    "reid": ("retrieval",),
    "steplr": ("step",),
    "torchexport": ("torch",),
    "pt2": ("torch",),
    "accuracy": ("top1",),
    "acc": ("top1",),
    "acc1": ("top1",),
}
"""Words that people type, without separators and in lower case, with the names here they stand for.

The first of them that exists, where the word was typed, is meant.
"""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of the known names that was probably meant, or None.

    Args:
        name: Name that does not exist.
        known: Names that do.

    Example:
        >>> nearest("learning_rate", ("decay-rate", "lr")), nearest("isqr", ("mpn", "isqrt"))
        ('lr', 'isqrt')
    """
    name, names = name[:255], list(known)
    bare = _bare(name)
    alike = [other for other in names if _bare(other) == bare]
    meant = [other for other in SYNONYMS.get(bare, ()) if other in names]
    return next(iter(alike + meant + get_close_matches(name, names, n=1)), None)


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def guess(name: str, known: Iterable[str]) -> str:
    """Return the question that ends a message about a name that does not exist, or nothing.

    Example:
        >>> guess("fp16", ("float32", "float16"))
        " Did you mean 'float16'?"
    """
    found = nearest(name, known)
    return f" Did you mean {found!r}?" if found else ""
