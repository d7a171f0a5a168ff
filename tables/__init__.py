"""The state: pure values and statistics. The same input gives the same output, bit for bit."""
