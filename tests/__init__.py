# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests of libfreeze. README.md describes the suites."""
