# SPDX-License-Identifier: LGPL-2.1-or-later
"""The patch files, and each step of the series."""
