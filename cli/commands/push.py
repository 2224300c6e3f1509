"""`covtool push`."""

from typing import TYPE_CHECKING, Annotated

import typer

from covtool_cli import first_checks, loading, options, render

if TYPE_CHECKING:
    from covtool.sharing.push import PushResult

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A covtool file, or a run's folder for its best one.")
]
Repo = Annotated[
    str, typer.Argument(metavar="ORG/NAME", help="Repository on the hub; made if it is missing.")
]
Private = Annotated[
    bool, typer.Option("--private", help="Make a new repository that only its owner sees.")
]
Revision = Annotated[
    str | None, typer.Option(help="Branch to write to, made if it is missing; default: main.")
]
Message = Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be uploaded; the hub is not asked.")
]
Replace = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that the repository holds.")
]


def command(
    ctx: typer.Context,
    source: File,
    repo: Repo,
    private: Private = False,
    revision: Revision = None,
    message: Message = None,
    dry_run: DryRun = False,
    max_model_size: options.MaxModelSize = None,
    overwrite: Replace = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Upload a covtool file to the Hugging Face Hub, with a model card.

    The token is that of `hf auth login`, or HF_TOKEN. Others open it as hf-hub:ORG/NAME.

    Example: covtool push net.safetensors ORG/NAME --private
    """
    first_checks.require_models(source)
    with loading.libraries(as_json=as_json):
        from covtool.sharing.push import PushRequest, push

    done = push(options.request(ctx, PushRequest))
    for text in done.notes:
        render.note(f"note: {text}")
    render.json_object(done) if as_json else _show(done)


def _show(done: "PushResult") -> None:
    if done.url is None:
        title = "Would be uploaded"
    else:
        title = "Nothing to upload: all is there" if done.unchanged else "Uploaded"
    render.pairs(
        title,
        [
            ("repository", f"{done.repo}{', new' if done.created else ''}"),
            ("branch", done.revision),
            *((file.name, f"{file.bytes:,} bytes") for file in done.files),
            ("from", done.file),
            ("opens with", " and ".join(done.opens_with)),
            ("open as", f"hf-hub:{done.repo}{_at(done.revision)}"),
            *([("address", done.url)] if done.url else []),
        ],
    )


def _at(revision: str) -> str:
    return "" if revision == "main" else f"@{revision}"
