"""Breaking things under load, and counting: `load` sends and verifies, `faults.FAULTS` break, `table` shows what came of it."""
