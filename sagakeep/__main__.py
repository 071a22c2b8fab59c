"""`python -m sagakeep`, the same as the command `sagakeep`."""

from sagakeep.cli import main

main(prog_name="sagakeep")
