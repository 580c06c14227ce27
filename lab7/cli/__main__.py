"""The command line as a module: python -m lab7.cli."""

import sys

from lab7.cli.main import main

sys.exit(main())
