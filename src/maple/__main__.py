"""`python -m maple`."""

from maple.cli import main

main()
