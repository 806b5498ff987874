"""The servers that clients talk to. Each reads its transport's bytes and hands one `Incoming` to the pipeline."""
