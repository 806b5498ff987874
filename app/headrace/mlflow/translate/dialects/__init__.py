"""What agent frameworks say in attributes of their own: tables of rules, read by one engine."""
