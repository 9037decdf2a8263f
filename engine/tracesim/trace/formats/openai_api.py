"""Requests to OpenAI's API and the answers to them: chat completions, completions, and responses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tracesim.trace.formats.chat_text import call_text, content_text, message_text, reasoning_of
from tracesim.trace.problems import Finding, describe
from tracesim.trace.schema import Fault, Fields

_MOST_EXTRA_TOKENS = 16
"""How many more output tokens than its text shows an answer may have: end tokens and marks of its parts."""
_MOST_TOKENS_OF_NO_TEXT = 2
_MOST_TEMPLATE_TOKENS = 100
"""How many tokens a chat template adds to a prompt, with the system prompt that it has by default."""
_MOST_TOKENS_OF_A_MARK = 8
"""How many tokens a chat template adds to each message; each line may be one."""
_ONE_TOKEN = re.compile(rb" ?[a-z]{1,2}")


class Answer(NamedTuple):
    """The text of an answer, and whether it has the reasoning before it; None where it cannot be replayed."""

    text: str | None
    has_reasoning: bool
    findings: list[Finding]


class Usage(NamedTuple):
    """The numbers of tokens that an answer reports; None where it does not."""

    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int

    @property
    def lengths(self) -> Fields:
        """The lengths of a record; empty if one of them is not reported."""
        if self.input_tokens is None or self.output_tokens is None:
            return {}
        return {"input_length": self.input_tokens, "output_length": self.output_tokens}


def prompt_of(body: Any) -> tuple[Fields, list[Finding]]:
    """Return the prompt of a request, as text or as token ids, or what is wrong with it.

    Messages are joined with line feeds between them; only text can be replayed.
    """
    if not isinstance(body, dict):
        return {}, [Finding("wrong-type", "body", f"is {describe(body)}; must be an object")]
    if "messages" in body:
        return joined_messages(body["messages"], "body.messages")
    if "prompt" in body or "input" not in body:
        return _completion_prompt(body.get("prompt"))
    instructions = body.get("instructions")
    given = body["input"]
    items = [{"content": given}] if isinstance(given, str) else given
    if isinstance(items, list) and isinstance(instructions, str):
        items = [{"content": instructions}, *items]
    return joined_messages(items, "body.input", _item_text)


def joined_messages(
    items: Any, field: str, text_of: Callable[[Any], str | Fault] = message_text
) -> tuple[Fields, list[Finding]]:
    """Return messages as a prompt, with line feeds between them, or what is wrong with one of them."""
    if not isinstance(items, list):
        return {}, [Finding("wrong-type", field, f"is {describe(items)}; must be a list of messages")]
    texts = []
    for at, item in enumerate(items, 1):
        text = text_of(item)
        if not isinstance(text, str):
            return {}, [Finding(text[0], field, f"item {at} {text[1]}")]
        texts.append(text)
    return {"prompt": "\n".join(texts)}, []


def _completion_prompt(prompt: Any) -> tuple[Fields, list[Finding]]:
    """Return the prompt of a completion: text, token ids, or a list with one of them."""
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return {"prompt": prompt}, []
    if prompt is None:
        return {}, [Finding("missing-field", "body.prompt", "is missing; give messages, prompt or input")]
    if isinstance(prompt, list) and all(type(token) is int for token in prompt):
        return {"prompt_token_ids": prompt}, []
    found = f"has {len(prompt)} items" if isinstance(prompt, list) else f"is {describe(prompt)}"
    message = f"{found}; must be a string or a list of token ids: one prompt"
    return {}, [Finding("wrong-type", "body.prompt", message)]


def _item_text(item: Any) -> str | Fault:
    """Return the text of an item of the Responses API: a message, a call, its output, or reasoning."""
    if isinstance(item, dict):
        if isinstance(item.get("name"), str) and ("arguments" in item or "input" in item):
            return call_text(item)
        if "output" in item:
            return content_text(item["output"])
        if "content" in item:
            return content_text(item["content"])
        if item.get("type") in ("reasoning", "item_reference"):
            return ""
        return "missing-field", "has no content; only text can be replayed"
    return "wrong-type", f"is {describe(item)}; must be an object"


def answer_of(body: Any) -> Answer:
    """Return the answer of a response's body: the choice with the lowest index, or all items of an output."""
    choices = body.get("choices") if isinstance(body, dict) else None
    output = body.get("output") if isinstance(body, dict) else None
    if isinstance(output, list):
        texts = [_item_text(item) for item in output]
        if fault := next((text for text in texts if not isinstance(text, str)), None):
            return Answer(None, False, [Finding(fault[0], "response.body.output", f"an item {fault[1]}")])
        is_reasoned = any(text for text, item in zip(texts, output, strict=True) if _is_reasoning(item))
        return Answer("\n".join([text for text in texts if isinstance(text, str) and text]), is_reasoned, [])
    if not isinstance(choices, list) or not choices or not all(isinstance(each, dict) for each in choices):
        message = "has no choices and no output; only generated text can be replayed"
        return Answer(None, False, [Finding("missing-field", "response.body", message)])
    first = min(choices, key=lambda choice: choice["index"] if type(choice.get("index")) is int else 0)
    message = first.get("message")
    completion = {"content": first["text"]} if "text" in first else {}
    text = message_text(message if "message" in first else completion)
    if not isinstance(text, str):
        return Answer(None, False, [Finding(text[0], "response.body.choices", text[1])])
    findings = []
    if len(choices) > 1:
        reason = f"has {len(choices)} items; the first is replayed, and the others are skipped"
        findings = [Finding("other-choices", "response.body.choices", reason)]
    return Answer(text, isinstance(message, dict) and bool(reasoning_of(message)), findings)


def _is_reasoning(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning"


def usage_of(body: Any) -> Usage:
    """Return the numbers of tokens in the `usage` of a response's body."""
    usage = body.get("usage") if isinstance(body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
    counts = [
        next((usage[name] for name in names if type(usage.get(name)) is int), None)
        for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    ]
    return Usage(counts[0], counts[1], reasoning if type(reasoning) is int else 0)


def hidden_tokens(usage: Usage, answer: Answer) -> str | None:
    """Return a message if tokens were generated whose text is not in the answer."""
    output_tokens, text = usage.output_tokens, answer.text or ""
    if output_tokens is None:
        return None
    if usage.reasoning_tokens and not answer.has_reasoning:
        found = f"{usage.reasoning_tokens} of {output_tokens} output tokens"
        return f"counts {found} as reasoning, whose text is not recorded"
    extra_tokens = _MOST_EXTRA_TOKENS if text else _MOST_TOKENS_OF_NO_TEXT
    if not answer.findings and _exceeds(output_tokens - extra_tokens, text):
        return f"counts {output_tokens} output tokens, more than the recorded text can have"
    return None


def hidden_prompt_tokens(usage: Usage, prompt: Fields) -> str | None:
    """Return a message if the model read tokens that are not in the recorded prompt, such as tools."""
    input_tokens, text = usage.input_tokens, prompt.get("prompt", "")
    if input_tokens is None:
        return None
    extra_tokens = _MOST_TEMPLATE_TOKENS + len(prompt.get("prompt_token_ids", ()))
    if text:
        extra_tokens += _MOST_TOKENS_OF_A_MARK * (1 + text.count("\n"))
    if _exceeds(input_tokens - extra_tokens, text):
        return f"counts {input_tokens} prompt tokens, more than the recorded text can have"
    return None


def hidden_tokens_message(hidden: str, lengths: Fields) -> str:
    """Return the message about tokens without text; `lengths` are replayed instead, unless they are empty."""
    return f"{hidden}; {'the numbers of tokens are' if lengths else 'only this text is'} replayed"


def _exceeds(num_tokens: int, text: str) -> bool:
    """Whether a text has fewer tokens than this, by an estimate that is high for every language.

    In words, two lower-case ASCII letters, or the last alone, are one token, with a space before them.
    Every other byte of UTF-8 may be a token: tokenizers divide digits, symbols and rare scripts as far.
    """
    if num_tokens <= len(text) // 3:  # no text is estimated lower
        return False
    return num_tokens > len(_ONE_TOKEN.sub(b"x", text.encode(errors="replace")))
