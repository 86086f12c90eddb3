"""Entry of the command: signals are handled before anything else is imported."""

from __future__ import annotations

import sys
from typing import NoReturn

from prune_deploy import signals


def main() -> NoReturn:
    """Handle signals from now on, and run the command line."""
    signals.program.watch()
    sys.unraisablehook = signals.program.swallowed
    try:
        from prune_deploy.cli.main import main as run
    except KeyboardInterrupt:
        signals.program.ignore()
        sys.stderr.write("interrupted: nothing half-made was left behind\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
