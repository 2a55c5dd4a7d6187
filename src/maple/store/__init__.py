"""A results folder: cells on disk, who works on them, and what they hold (DESIGN.md section 6)."""

from maple.store.leases import Lease, LeaseLostError
from maple.store.planfile import PlanFile
from maple.store.record import Record
from maple.store.snapshot import Snapshot
from maple.store.stacked import Stacked
from maple.store.store import Store

__all__ = ["Lease", "LeaseLostError", "PlanFile", "Record", "Snapshot", "Stacked", "Store"]
