"""The release version; the capture format has its own (`sockrec.model.tables.FORMAT_VERSION`)."""

__version__ = "0.1.0"
