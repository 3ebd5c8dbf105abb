"""Every parameter of conf/ described once: its kind, its meaning and unit; for validation, ``--help`` and the docs."""
