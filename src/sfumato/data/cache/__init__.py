"""The decoded images of a source, on disk. Knows nothing of tensors, so that its processes start at once."""

from sfumato.data.cache.folder import Store, cache_folder, kept_in, open_store
from sfumato.data.cache.size import Size, parsed_size
from sfumato.data.cache.survey import suggested_size, survey

__all__ = [
    "Size",
    "Store",
    "cache_folder",
    "kept_in",
    "open_store",
    "parsed_size",
    "suggested_size",
    "survey",
]
