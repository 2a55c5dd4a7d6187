"""Tables, figures and the page: what a store says, for people."""

from maple.report.compared import Compared, compared
from maple.report.gathered import Gathered, gather
from maple.report.page import build, write
from maple.report.terminal import Summary, summary

__all__ = ["Compared", "Gathered", "Summary", "build", "compared", "gather", "summary", "write"]
