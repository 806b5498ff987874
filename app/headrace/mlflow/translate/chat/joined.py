"""Items of an answer that came as messages of their own → one message. No I/O."""

from headrace.mlflow.translate.chat.message import Message


def joined(messages: list[Message]) -> list[Message]:
    """Reasoning and calls that came as items of their own belong to one message of the assistant."""
    found: list[Message] = []
    items: list[Message] = []
    for message in messages:
        items.append(message)
        if message["role"] == "assistant" and message["content"] is None:
            continue
        found += _merged(items) if message["role"] == "assistant" else [*_merged(items[:-1]), message]
        items = []
    return found + _merged(items)


def _merged(items: list[Message]) -> list[Message]:
    """Messages of the assistant, of which only the last has content, as one."""
    if len(items) < 2:
        return items
    merged = {key: value for item in items for key, value in item.items()}
    if reasoning := [item["reasoning"] for item in items if item.get("reasoning")]:
        merged["reasoning"] = "\n\n".join(reasoning)
    if calls := [call for item in items for call in item.get("tool_calls", ())]:
        merged["tool_calls"] = calls
    return [merged]
