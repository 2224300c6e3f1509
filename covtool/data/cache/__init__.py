"""Decoded images, kept where they are quick to reach: memory, a mapped file, the device."""

from covtool.data.cache.forms import evaluation_form, training_form
from covtool.data.cache.opening import estimate_caches, open_caches
from covtool.data.cache.wishes import CachedImages, CacheSetting, CacheWish

__all__ = [
    "CacheSetting",
    "CacheWish",
    "CachedImages",
    "estimate_caches",
    "evaluation_form",
    "open_caches",
    "training_form",
]
