"""The caches of a run: planned together, so that they fit, then mapped or filled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from covtool.data.cache import on_disk
from covtool.data.cache.cache_file import UnusableCacheError
from covtool.data.cache.capacity import require_capacity
from covtool.data.cache.filling import fill_memory
from covtool.data.cache.planning import plan_cache
from covtool.data.cache.request import CachedImages, CacheRequest, CacheSetting
from covtool.data.datasets.checking import UnreadableError


def open_caches(
    requests: Sequence[CacheRequest], setting: CacheSetting
) -> tuple[CachedImages, ...]:
    """Map existing cache files, and fill the other caches if they fit.

    Args:
        requests: Images to cache.
        setting: Place and decoding of the caches.

    Returns:
        The caches, in the order of the requests.

    Raises:
        ArgumentError: They need more than they may have or than is free, or cannot be written.
        UnreadableError: There are unreadable images that are not to be left out; it has those of
            all caches.
    """
    found: dict[int, CachedImages] = {}
    problems: list[UnreadableError] = []
    if setting.spec.cache == "disk":
        for place, request in enumerate(requests):
            with suppress(UnusableCacheError):
                found[place] = on_disk.mapped(request, setting)
    missing = [place for place in range(len(requests)) if place not in found]
    plans = {place: plan_cache(requests[place], setting) for place in missing}
    if plans:  # all of them before the first is filled, which may take an hour
        require_capacity(plans.values(), setting)
    make = on_disk.make if setting.spec.cache == "disk" else fill_memory
    for place, plan in plans.items():
        with _collected(problems):
            found[place] = make(plan)
    if problems:
        raise UnreadableError.of_all(problems)
    return tuple(found[place] for place in range(len(requests)))


@contextmanager
def _collected(problems: list[UnreadableError]) -> Iterator[None]:
    """Go on with the other caches, so that one error names all unreadable images."""
    try:
        yield
    except UnreadableError as problem:
        problems.append(problem)


def estimate_caches(requests: Sequence[CacheRequest], setting: CacheSetting) -> None:
    """Note the size of caches without filling them.

    Raises:
        ArgumentError: They need more than they may have, or than is free.
    """
    require_capacity([plan_cache(request, setting) for request in requests], setting)
