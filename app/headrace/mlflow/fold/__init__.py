"""Parts of traces → the traces as they shall stand. No I/O."""
