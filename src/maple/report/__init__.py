"""Tables, figures and the page: what a store says, for people."""

from maple.report.page import build
from maple.report.terminal import Summary, summary

__all__ = ["Summary", "build", "summary"]
