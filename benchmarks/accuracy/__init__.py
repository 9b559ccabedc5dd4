"""How well simulated steps match measured ones, on the emulated mixed cluster."""
