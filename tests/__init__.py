"""The tests; a package, since dcase_util installs one of the same name."""
