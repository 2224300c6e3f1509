"""The caches of a run: planned together, so that they fit; then mapped, or filled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from covtool.data.cache import on_disk
from covtool.data.cache.cache_file import UnusableCacheError
from covtool.data.cache.filling import fill_memory
from covtool.data.cache.planning import plan_cache
from covtool.data.cache.room import require_room
from covtool.data.cache.wishes import CachedImages, CacheSetting, CacheWish
from covtool.data.checking import UnreadableError


def open_caches(wishes: Sequence[CacheWish], setting: CacheSetting) -> tuple[CachedImages, ...]:
    """Map the cache files that there are, and fill what else is to be cached, if it fits.

    Args:
        wishes: What is to be cached.
        setting: Where, and how.

    Returns:
        The caches, in the order of the wishes.

    Raises:
        ArgumentError: They need more than they may have or than is free, or cannot be written.
        UnreadableError: There are unreadable images that are not to be left out, those of all.
    """
    found: dict[int, CachedImages] = {}
    problems: list[UnreadableError] = []
    if setting.spec.cache == "disk":
        for place, wish in enumerate(wishes):
            with suppress(UnusableCacheError):
                found[place] = on_disk.mapped(wish, setting)
    missing = [place for place in range(len(wishes)) if place not in found]
    plans = {place: plan_cache(wishes[place], setting) for place in missing}
    if plans:
        require_room(plans.values(), setting)
    make = on_disk.make if setting.spec.cache == "disk" else fill_memory
    for place, plan in plans.items():
        with _collected(problems):
            found[place] = make(plan)
    if problems:
        raise UnreadableError.of_all(problems)
    return tuple(found[place] for place in range(len(wishes)))


@contextmanager
def _collected(problems: list[UnreadableError]) -> Iterator[None]:
    """Go on with the other caches, so that all unreadable images are told at once."""
    try:
        yield
    except UnreadableError as problem:
        problems.append(problem)


def estimate_caches(wishes: Sequence[CacheWish], setting: CacheSetting) -> None:
    """Tell what caches would take, without filling them.

    Raises:
        ArgumentError: They need more than they may have, or than is free.
    """
    require_room([plan_cache(wish, setting) for wish in wishes], setting)
