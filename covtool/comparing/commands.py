"""The command line that makes the model of a row."""

from collections.abc import Iterator

from covtool.comparing.candidates import Subject, in_pixels
from covtool.comparing.request import CompareRequest
from covtool.specs import HeadSpec, ModelSource, as_flag
from covtool.specs.comparing import CompareSpec
from covtool.surgery.options import changed_options


def convert_command(request: CompareRequest, subject: Subject, head: HeadSpec) -> tuple[str, ...]:
    """Return the arguments of the `covtool convert` whose head has the estimated figure.

    Args:
        request: The comparison.
        subject: The network of the row.
        head: The head, as `convert` is asked for it.
    """
    return (
        "covtool",
        "convert",
        subject.name,
        *_of_head(head),
        "--calibrate",
        str(request.data),
        *_of_source(subject.source),
        *_of_reading(request),
    )


def _of_head(head: HeadSpec) -> Iterator[str]:
    yield from ("--head", head.head)
    for option in changed_options(head):
        if option not in ("head", "tap", "own_average"):
            yield from (as_flag(option), _text(getattr(head, option)))
    for tap in head.taps:
        yield from ("--tap", tap)


def _of_source(source: ModelSource) -> Iterator[str]:
    fields = ModelSource.model_fields
    for option in ("arch", "weights", "classifier_layer"):
        if getattr(source, option) != fields[option].default:
            yield from (as_flag(option), getattr(source, option))
    for name, value in source.input.items():
        if name == "size":
            yield from ("--img-size", in_pixels(value))
        elif isinstance(value, bool):
            yield f"--{'' if value else 'no-'}{name}"
        else:
            yield from (as_flag(name), _text(value))


def _of_reading(request: CompareRequest) -> Iterator[str]:
    for name, value in request.layout.given().items():
        yield from (as_flag(name), str(value))
    for name in ("calibrate_images", "calibrate_memory"):
        value = getattr(request.spec, name)
        if value != CompareSpec.model_fields[name].default:
            yield from (as_flag(name), _text(value))
    fields = type(request).__dataclass_fields__
    # Other batches round otherwise in the last digit, which may tip an image.
    for name in ("batch_size", "device", "on_bad_image"):
        value = getattr(request, name)
        if value != fields[name].default:
            yield from (as_flag(name), str(value))


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
