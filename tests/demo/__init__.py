# SPDX-License-Identifier: LGPL-2.1-or-later
"""examples/demo and its checker."""
