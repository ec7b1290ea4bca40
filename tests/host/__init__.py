# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library on the running kernel."""
