"""The command line: ``rlent train``, ``check``, ``interventions``."""
