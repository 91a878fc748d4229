"""A run as one HTML page that needs nothing but a browser."""

from rlent.report.page.document import write_page

__all__ = ["write_page"]
