"""Options that several commands share, each defined once, and options made from a spec."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import reduce, wraps
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from covtool.atomic import require_suffix
from covtool.atomic.formats import OUTPUTS
from covtool.errors import ArgumentError, UnknownKeyError
from covtool.printable import printable
from covtool.specs import InputOverrides, ModelSource, as_flag
from covtool.specs.problems import parts_of, shown
from covtool_cli.arguments import STATISTICS

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns of the table.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A covtool file, a run's folder, a checkpoint, a timm name, hf-hub:ORG/NAME or "
        "torchvision:NAME."
    ),
]
Arch = Annotated[str | None, typer.Option(help="Architecture, where the tensors leave a choice.")]
Iterations = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Newton-Schulz steps of a published covariance network, whose file does not hold "
        "them.",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="Weights to take from a training checkpoint: auto, ema, raw, or a name, like student."
    ),
]
ClassifierLayer = Annotated[
    str | None,
    typer.Option(help="Linear layer that gives the classes, where a checkpoint has several."),
]
Data = Annotated[
    Path,
    typer.Option(
        help="A folder with a folder per class, with train/ and val/, a CSV, a published data set "
        "as it unpacks, wds/DIR, hfds/NAME, or data for retrieval."
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images per batch.")]
Workers = Annotated[int, typer.Option("--workers", "-j", min=0, help="Processes that load images.")]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:1, mps.")]
Amp = Annotated[bool, typer.Option("--amp", help="Run the model in mixed precision.")]
AmpDtype = Annotated[Literal["float16", "bfloat16"], typer.Option(help="Lower precision of --amp.")]

_PLAIN = (str, int, float)
Request = TypeVar("Request")
# typer's names of sources; the default map is filled by --config and --preset.
GIVEN = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")


def is_given(ctx: typer.Context, name: str) -> bool:
    """Return whether a parameter of the command has a given value, not its default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in GIVEN


def named_by(require: Callable[[Path], None]) -> Callable[[Path | None], Path | None]:
    """Return the callback of an option for an output, which refuses names of other formats.

    It is called before the command is: nothing is computed or imported for a wrong name.

    Args:
        require: One of the functions of `covtool.atomic` that refuse a name.
    """

    def checked(path: Path | None) -> Path | None:
        if path is not None:
            require(path)
        return path

    return checked


def require_csv(path: Path) -> None:
    """Refuse another name than that of a CSV file; see `named_by`."""
    require_suffix(path, (".csv",), what="a CSV file")


SOURCE_OPTIONS = ("arch", "weights", "classifier_layer", "iterations", "from_scratch")


def model_source(ctx: typer.Context, name: str, images: InputOverrides) -> ModelSource:
    """Return the model that a command's argument and its `SOURCE_OPTIONS` name."""
    chosen = {option: ctx.params[option] for option in SOURCE_OPTIONS if option in ctx.params}
    return ModelSource(name=name, input=images.changes(), **chosen)


def request(ctx: typer.Context, kind: type[Request], **fields: Any) -> Request:
    """Return a request whose other fields are the command's options of the same names.

    Args:
        ctx: Context of the command.
        kind: A dataclass.
        **fields: Fields that no option of their name holds.
    """
    named = {f.name: ctx.params[f.name] for f in dataclasses.fields(kind) if f.name in ctx.params}
    return kind(**{**named, **fields})


def takes(**specs: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of `specs`, and call it with the specs.

    ``@takes(head=HeadSpec)`` fills the parameter `head` of the command. The flag's name, type,
    default, range and help text come from the field: nothing is written twice. A field with
    ``json_schema_extra={"flag": False}`` and one with a single possible value get no option;
    ``{"short": "-b"}`` adds a short flag, ``{"long": "x"}`` makes the flag another than the field's
    name, ``{"panel": "..."}`` a heading in the help, ``{"default": "..."}`` words in place of the
    default's value there, ``{"output": "features"}`` the kind of file it names, of
    `covtool.atomic.formats.OUTPUTS`, ``{"or": "auto"}`` a word that may stand in a number's place.
    A command of many specs may take them as ``**settings``. Which options ``--help`` shows is said
    in `covtool_cli.everyday.EVERYDAY`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        declared = signature.parameters.values()
        own = [p for p in declared if p.name not in specs and p.kind is not p.VAR_KEYWORD]
        fields = {name: _flags_of(spec) for name, spec in specs.items()}
        made = [_parameter(field, info) for group in fields.values() for field, info in group]

        @wraps(command)
        def call(**values: Any) -> None:
            filled = {
                name: validated(specs[name], {f: values.pop(f) for f, _ in fields[name]})
                for name in specs
            }
            command(**values, **filled)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *made)]
        # typer reads the signature to find the options, and the annotations to find their types
        call.__signature__ = signature.replace(parameters=parameters)
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate


def _flags_of(spec: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return [
        (name, info)
        for name, info in spec.model_fields.items()
        if name != "operation" and _extra(info).get("flag", True)
    ]


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _long(name: str, info: FieldInfo) -> str:
    return as_flag(_extra(info).get("long", name))


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    extra, long = _extra(info), _long(name, info)
    flags = [f"{long}/--no-{long[2:]}"] if info.annotation in (bool, bool | None) else [long]
    flags += [extra["short"]] if "short" in extra else []
    option = typer.Option(
        *flags,
        help=info.description or "",
        rich_help_panel=extra.get("panel"),
        callback=named_by(OUTPUTS[extra["output"]]) if "output" in extra else None,
        show_default=extra.get("default", True),
        **(_number_or(extra["or"]) if "or" in extra else {}),
    )
    annotation, default = (
        _without_bounds(info.annotation),
        info.get_default(call_default_factory=True),
    )
    if "or" in extra:  # typer takes no unions; the parser decides
        annotation = float
    # typer knows a flag to repeat by its list; a tuple would be several values behind one flag.
    if (item := _repeated(annotation)) is not None:
        annotation, default = list[item], list(default or ())
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, option],
    )


def _repeated(annotation: Any) -> Any:
    """Return the type of the items, where a field takes any number of them; None elsewhere."""
    # A union takes one item or several: its flag is repeated too.
    is_union = get_origin(annotation) in (Union, UnionType)
    for kind in get_args(annotation) if is_union else (annotation,):
        if get_origin(kind) is tuple and Ellipsis in get_args(kind):
            return _without_bounds(get_args(kind)[0])
    return None


def _number_or(word: str) -> dict[str, Any]:
    """Return settings of an option that takes a number, or one word in its place."""

    def parse(value: Any) -> float | str:
        if value == word:
            return word
        try:
            return float(value)
        except ValueError:
            text = shown(value)
            raise typer.BadParameter(f"{text} is neither a number nor {word!r}.") from None

    return {"parser": parse, "metavar": f"<float|{word}>"}


_MOST_VALUES = 4
"""Values of an option that an error repeats one by one."""


def _without_bounds(annotation: Any) -> Any:
    """Return a type as typer takes it: bounds are checked by the spec itself."""
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(_without_bounds, get_args(annotation)))
    return annotation


def validated(spec: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    """Return a spec of values; a wrong one is an `ArgumentError` that names its option."""
    try:
        return spec.model_validate(values)
    except ValidationError as problem:
        # One error a time: a second one is often the consequence of the first.
        first = problem.errors()[0]
        name = first["loc"][0] if first["loc"] else None
        flag = _long(name, spec.model_fields[name]) if name else "The options"
        reason = parts_of(problem)[1]
        raise ArgumentError(f"{flag} {_each_shown(first['input'])} is not valid: {reason}.") from (
            problem
        )


def _each_shown(value: Any) -> str:
    """Return a value in the words of a command: those of an option that takes several, each."""
    if isinstance(value, list | tuple) and 0 < len(value) <= _MOST_VALUES:
        return " ".join(map(shown, value))
    return shown(value)


def _read_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Use a YAML file's values as the command's defaults, below variables and flags."""
    if path is None:
        return None
    from covtool.specs.optimization import RECORDED
    from covtool.specs.settings_files import read_settings

    # typer would ignore a key that no option has
    parameters = {p.name: p for p in ctx.command.params}
    values = {k: v for k, v in read_settings(path).items() if k not in RECORDED}
    for key in values:
        if key not in parameters:
            raise UnknownKeyError(printable(str(path)), printable(key), list(parameters))
    typed = {key: _as_typed(parameters[key], value, path) for key, value in values.items()}
    ctx.default_map = {**(ctx.default_map or {}), **typed}
    return path


def _as_typed(parameter: typer.core.TyperOption, value: Any, path: Path) -> Any:
    """Return a value of a configuration as text, which the option itself checks then.

    Raises:
        ArgumentError: It is a list where one value belongs, one value where there are two, or a
            mapping.
    """
    is_several = parameter.nargs != 1 or getattr(parameter, "multiple", False)
    # YAML's `yes` is a bool, which only a flag may have.
    if value is None or (isinstance(value, bool) and getattr(parameter, "is_flag", False)):
        return value
    # mean: [0.5, 0.5, 0.5] is one value, as --mean 0.5,0.5,0.5 is.
    numbers = isinstance(value, list) and all(type(item) in (int, float) for item in value)
    plain = isinstance(value, _PLAIN) or (numbers and as_flag(parameter.name) in STATISTICS)
    if is_several and isinstance(value, list) and all(isinstance(v, _PLAIN) for v in value):
        return [str(item) for item in value]
    if plain and parameter.nargs == 1:
        # One value of a flag that may be repeated needs no list.
        return [str(value)] if is_several else str(value)
    expected = "a list of plain values" if is_several else "one plain value"
    raise ArgumentError(
        f"{printable(str(path))} has {parameter.name}: {shown(value)}, which is not valid: "
        f"it should be {expected}."
    )


def _apply_preset(ctx: typer.Context, name: str | None) -> str | None:
    """Use a preset's values as the command's defaults, where a configuration has none."""
    if name is None:
        return None
    from covtool.presets import PRESETS

    # In this order: a configuration overrides a preset.
    ctx.default_map = {**PRESETS[name].settings, **(ctx.default_map or {})}
    return name


def _limit_models(ctx: typer.Context, text: str | None) -> str | None:
    """Refuse to build larger models while the command runs."""
    if text is None:
        return None
    from covtool.model_limit import models_up_to
    from covtool.specs.byte_amounts import parse_bytes

    try:
        # The limit ends with the command: tests run many in one process.
        ctx.with_resource(models_up_to(parse_bytes(text)))
    except ValueError as problem:
        raise ArgumentError(
            f"--max-model-size {printable(text)!r} is not valid: {problem}."
        ) from problem
    return text


MaxModelSize = Annotated[
    str | None,
    typer.Option(
        callback=_limit_models,
        help="Largest model, in memory with its activations for one image: 800MB, 16GiB; default: "
        "the machine's free memory.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        # Eager: the other options take their defaults from it.
        callback=_read_config,
        is_eager=True,
        help="YAML file with values for these options.",
    ),
]
Preset = Annotated[  # after a Config, which may name it
    str | None,
    typer.Option(
        callback=_apply_preset,
        is_eager=True,
        help="Settings for a purpose, which --config and other options override; covtool list "
        "presets shows all.",
    ),
]
FromScratch = Annotated[
    bool,
    typer.Option(
        "--from-scratch",
        help="Start from random weights, where the model is a name with pretrained ones.",
    ),
]
OnBadImage = Annotated[
    Literal["error", "skip"],
    typer.Option(help="Images that cannot be read: end with an error, or skip them."),
]


def _limit_pixels(ctx: typer.Context, number: int | None) -> int | None:
    """Treat images with more pixels as unreadable while the command runs."""
    if number is not None:
        from covtool.data.images.bounds import pixels_up_to

        ctx.with_resource(pixels_up_to(number))
    return number


MaxImagePixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        callback=_limit_pixels,
        help="Largest image, in pixels; a larger one counts as unreadable. Default: Pillow's "
        "limit, 178956970.",
    ),
]
