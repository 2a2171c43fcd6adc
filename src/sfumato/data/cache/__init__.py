"""Cache of decoded images on disk. It does not import PyTorch, so that worker processes start quickly."""

from sfumato.data.cache.store import Store, cache_folder, cache_write_errors, open_store
from sfumato.data.cache.target_format import read_headers, suggested_size

__all__ = [
    "Store",
    "cache_folder",
    "cache_write_errors",
    "open_store",
    "read_headers",
    "suggested_size",
]
