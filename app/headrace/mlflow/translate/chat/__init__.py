"""Chats in one normal form, OpenAI's, whichever library made them: read, drawn by MLflow's UI, and told in a line.

    inputs and outputs ─ shapes.py: which of their values are messages ─► message.py ─ blocks.py, media.py ─► Message, …
                                                                            │
                    drawn.py: what MLflow's UI would not draw is written so ◄┴► preview.py: what was asked and answered

No I/O.
"""
