# SPDX-License-Identifier: LGPL-2.1-or-later
"""Groups of filesystems that are stacked on each other."""
