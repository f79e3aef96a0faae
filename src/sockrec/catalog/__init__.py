"""Captures opened as a set of DuckDB views, confined to reading them."""

from sockrec.catalog.catalog import Catalog, open_catalog

__all__ = ["Catalog", "open_catalog"]
