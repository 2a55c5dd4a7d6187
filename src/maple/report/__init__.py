"""Tables, figures and the page: what a store says, for people."""

from maple.report.compared import Compared, compared
from maple.report.page import build
from maple.report.terminal import Summary, summary

__all__ = ["Compared", "Summary", "build", "compared", "summary"]
