"""The servers that clients talk to. Each reads the bytes of its transport and hands requests to the pipeline, one by one."""
