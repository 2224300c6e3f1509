"""Settings as configuration libraries keep them, taken out of those libraries' objects."""

from collections.abc import Callable, Mapping
from typing import Any

from covtool.checkpoints.pickles.records import Placeholder
from covtool.checkpoints.pickles.settle import Settle

_OMEGACONF_NODES = (
    *("AnyNode", "BooleanNode", "BytesNode", "EnumNode", "FloatNode", "IntegerNode"),
    *("InterpolationResultNode", "PathNode", "StringNode"),
)


def _attribute(name: str) -> Callable[[Placeholder, Settle], Any]:
    """Return a row that takes one attribute for the whole object."""

    def row(record: Placeholder, settle: Settle) -> Any:
        return settle(record.attributes[name]) if name in record.attributes else NotImplemented

    return row


def _given(record: Placeholder, settle: Settle) -> Any:
    """Return the dictionary that the object was made from, and what it was filled with."""
    first = record.arguments[0] if record.arguments else {}
    if not isinstance(first, Mapping) or not (first or record.items):
        return NotImplemented
    return dict([*settle.pairs(first), *settle.pairs(record.items or {})])


def _config(record: Placeholder, settle: Settle) -> Any:
    """Return the settings in a `Config` of mmengine or mmcv: first in its state, or named."""
    state = record.state
    if isinstance(state, tuple) and state:
        return settle(state[0])
    found = record.attributes.get("_cfg_dict")
    return NotImplemented if found is None else settle(found)


# By the names that pickles hold: mmcv's classes moved into mmengine, and files have both.
CONFIGS: dict[str, Callable[[Placeholder, Settle], Any]] = {
    "omegaconf.dictconfig.DictConfig": _attribute("_content"),
    "omegaconf.listconfig.ListConfig": _attribute("_content"),
    **{f"omegaconf.nodes.{name}": _attribute("_val") for name in _OMEGACONF_NODES},
    "addict.addict.Dict": _given,
    "easydict.EasyDict": _given,
    "mmcv.utils.config.ConfigDict": _given,
    "mmengine.config.config.ConfigDict": _given,
    "mmcv.utils.config.Config": _config,
    "mmengine.config.config.Config": _config,
}
