"""`python -m proxy` is the `fortieth` command."""

from proxy.cli.main import main

main()
