# SPDX-License-Identifier: MIT
"""What run.py tells the suites."""

build = ""
