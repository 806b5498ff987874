"""Log records that belong to a span, kept beside it in `spans.content`. No I/O."""
