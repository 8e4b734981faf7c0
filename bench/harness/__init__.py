"""The parts of `bench/compare`. Only the Python standard library."""
