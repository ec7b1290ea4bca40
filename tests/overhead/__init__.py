# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the patches cost on one kernel, stock against patched."""
