"""Nothing acknowledged is lost, proven by breaking things."""
