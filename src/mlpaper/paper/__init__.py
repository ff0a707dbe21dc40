"""Figures, tables, numbers and prose: everything between the study tables and the typeset paper."""
