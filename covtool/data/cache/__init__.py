"""Cached images, decoded once and kept in memory, in a mapped file or on the device."""

from covtool.data.cache.forms import evaluation_form, training_form
from covtool.data.cache.opening import estimate_caches, open_caches
from covtool.data.cache.request import CachedImages, CacheRequest, CacheSetting

__all__ = [
    "CacheRequest",
    "CacheSetting",
    "CachedImages",
    "estimate_caches",
    "evaluation_form",
    "open_caches",
    "training_form",
]
