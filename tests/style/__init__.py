# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cheap checks of every file in the tree: formatting, lint, licences, spelling, links."""
