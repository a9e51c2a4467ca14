# SPDX-License-Identifier: GPL-2.0-only
"""The measured libraries, one module for each, behind the interface of base.py. registry.py names them all."""
