# SPDX-License-Identifier: MIT
"""Runs the conformance suites against a build folder: run.py BUILD. Ends with `N passed, N failed`."""

import sys
import unittest
from pathlib import Path


def main() -> int:
    here = Path(__file__).resolve().parent
    if len(sys.argv) != 2:
        print("usage: run.py BUILD_FOLDER", file=sys.stderr)
        return 2
    sys.path.insert(0, str(here))
    import settings

    settings.build = str(Path(sys.argv[1]).resolve())
    suite = unittest.defaultTestLoader.discover(str(here), pattern="test_*.py", top_level_dir=str(here))
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    print(f"{max(passed, 0)} passed, {failed} failed", flush=True)
    return 1 if failed or passed <= 0 else 0


if __name__ == "__main__":
    sys.exit(main())
