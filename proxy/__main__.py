"""`python -m proxy` is the `fortieth` command."""

from proxy.cli import main

main()
