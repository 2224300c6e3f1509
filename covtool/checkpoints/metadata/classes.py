"""The class names of a checkpoint, as far as they fit its classifier."""

from covtool.checkpoints.metadata.statements import Statements
from covtool.checkpoints.metadata.wording import sentence


def stated_classes(
    statements: Statements, num_classes: int
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return names of a classifier's outputs, and what is worth knowing about them.

    The most trusted source whose number of names is that of the outputs. A list of classes beside
    the file may be of something else: one with another number of names is not used, which is stated
    where nothing else names the classes; two that differ are both left out.

    Args:
        statements: Statements about the file.
        num_classes: Outputs of the file's own classifier.

    Returns:
        The names or None, and notes in sentences.
    """
    naming = [source for source in statements.sources if source.class_names]
    fitting = [source for source in naming if len(source.class_names) == num_classes]
    notes = [
        f"{sentence(source.where)} names {len(source.class_names)} classes, the classifier has "
        f"{num_classes} outputs: these names are not used."
        for source in naming
        if source not in fitting
    ]
    lists = [
        source for source in statements.class_lists if len(source.class_names or ()) == num_classes
    ]
    notes += [problem for source in statements.class_lists for problem in source.problems]
    # Both fit, and nothing says which of them is of this checkpoint.
    if not fitting and len({source.class_names for source in lists}) > 1:
        files = " and ".join(source.where for source in lists)
        return None, (*notes, f"{files} name the classes differently: none is used.")
    if not fitting and not lists:
        notes += [
            f"{source.where} names {len(source.class_names)} classes, the classifier has "
            f"{num_classes} outputs: it is not used."
            for source in statements.class_lists
            if source.class_names
        ]
        return None, tuple(notes) or _wrong_number(statements, num_classes)
    chosen, *others = (*fitting, *lists)
    notes += [
        f"{sentence(other.where)} names the classes in another way than {chosen.where}, which is "
        "used."
        for other in others
        if other.class_names != chosen.class_names
    ]
    return chosen.class_names, (*notes, f"The {num_classes} classes are named by {chosen.where}.")


def _wrong_number(statements: Statements, num_classes: int) -> tuple[str, ...]:
    statement = next(
        (s for s in statements.sources if s.is_content and s.num_classes is not None), None
    )
    if statement is None or statement.num_classes == num_classes:
        return ()
    return (
        f"{sentence(statement.where)} says {statement.num_classes} classes, the classifier has "
        f"{num_classes} outputs.",
    )
