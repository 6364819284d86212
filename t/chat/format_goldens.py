#!/usr/bin/env python3
"""Examples of tool-call formats: formats/NAME/TEMPLATE.json.

What published chat templates themselves write for an assistant's message with
calls, by jinja2; the parts are what was put into the message.  Templates are
read from ../shared/data/chat-templates.  Needs: pip install jinja2.
Files beginning with "x-" are written by hand and stay.

Usage: format_goldens.py [TEMPLATE]   with a name: prints instead of writing
"""

import glob
import json
import os
import re
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TEMPLATES = os.path.join(ROOT, "..", "shared", "data", "chat-templates")

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a place",
        "parameters": {
            "type": "object", "additionalProperties": False,
            "properties": {
                "city": {"type": "string", "description": "Where"},
                "days": {"type": "integer", "description": "How many"},
                "opts": {"type": "object", "description": "More"},
                "note": {"type": ["string", "null"], "description": "Any"}},
            "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "add", "description": "Adds numbers",
        "parameters": {
            "type": "object", "additionalProperties": False,
            "properties": {"a": {"type": "number", "description": "One"},
                           "b": {"type": "number", "description": "Other"}},
            "required": ["a", "b"]}}},
]

# For templates that cannot show the others.
PLAIN = json.loads(json.dumps(TOOLS))
for tool in PLAIN:
    for p in tool["function"]["parameters"]["properties"].values():
        p["additionalProperties"] = False
        if isinstance(p["type"], list):
            p["type"] = "string"

WEATHER = {"city": "Zürich <1>\nSee", "days": 3, "opts": {"u": ["C", "x y"]},
           "note": "a \"b\""}
SIMPLE = {"city": "Paris", "days": -1}
ADD = {"a": 1.5, "b": -2}

# Of Python's spellings the template writes "{'u': ['C', 'x y']}".
CASES = {
    "one": ("", "", [("get_weather", SIMPLE)]),
    "text": ("CONTENT here", "", [("get_weather", WEATHER)]),
    "two": ("", "", [("get_weather", WEATHER), ("add", ADD)]),
    "think": ("", "I should\n\ncall it.", [("add", ADD)]),
    "answer": ("It is <b>fine</b>.\n\n- a\n- b", "Now I know.", []),
    "empty": ("", "", [("get_weather", {})]),
}

# What a template adds behind the model's own text.
ENDS = ["<|im_end|>", "<EOS>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",
        "<|END_OF_TURN_TOKEN|>", "<seed:eos>", "<|end|>", "<end_of_sentence>",
        "[e~[", "<SPECIAL_12>", "<turn|>", "<|return|>", "<|call|>", "<|eot|>",
        "<sep>", "<|message_sep|>", "</assistant>", "<|end_of_msg|>",
        "<|user_end|>", "<|assistant_end|>", "<｜hy_eos:opensource｜>",
        "<｜end▁of▁sentence｜>", "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start_header_id|>assistant<|end_header_id|>", "<|tool_response>", "<end_of_turn>",
        "<|calls|>", "[BEGIN FINAL RESPONSE]"]


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"],
                                       drop_needle=True)


def compile_template(source):
    env = jinja2.sandbox.SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = lambda x, indent=None, separators=None, \
        sort_keys=False, ensure_ascii=False: json.dumps(
            list(x) if hasattr(x, "__next__") else x, indent=indent, separators=separators, sort_keys=sort_keys,
            ensure_ascii=False)
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: "2026-01-15"
    return env.from_string(source)


def message(content, reasoning, calls, string):
    m = {"role": "assistant", "content": content}
    if reasoning:
        for key in ("reasoning_content", "thinking", "reasoning", "thought"):
            m[key] = reasoning
    if calls:
        m["tool_calls"] = [
            {"id": "call%05d" % i, "type": "function",
             "function": {"name": n,
                          "arguments": json.dumps(a) if string else a}}
            for i, (n, a) in enumerate(calls)]
    return m


def render(template, messages, generation, string, tools):
    extra = {}
    if "functions" in string_of.get(template, ""):
        extra = {"functions": json.dumps(tools), "datetime": "now"}
    return template.render(
        messages=messages, tools=tools, add_generation_prompt=generation,
        bos_token="<BOS>", eos_token="<EOS>", documents=None,
        enable_thinking=True, thinking=True, keep_past_thinking=True,
        preserve_thinking=True, reasoning=True, reasoning_effort="high", **extra)


string_of = {}


def cases(name, source):
    template = compile_template(source)
    string_of[template] = source
    user = [{"role": "user", "content": "QQ?"}]
    for case, (content, reasoning, calls) in CASES.items():
        for string, tools in ((False, TOOLS), (True, TOOLS), (False, PLAIN)):
            m = message(content, reasoning, calls, string)
            if case == "think" and "functions." in source:
                del m["content"]
            try:
                prompt = render(template, user, True, string, tools)
                whole = render(template, user + [m], False, string,
                               tools)
            except Exception as e:
                error = e
                continue
            break
        else:
            print(f"{name} {case}: {type(error).__name__}: {error}"[:150],
                  file=sys.stderr)
            continue
        n = 0
        while n < min(len(prompt), len(whole)) and prompt[n] == whole[n]:
            n += 1
        if n < len(prompt):
            # Where they part they parted at a tag or at a line.
            while n and prompt[n - 1] not in ">\n]":
                n -= 1
        text, rest = whole[n:], prompt[n:]
        if "Write 'Action:'" in text:
            text = text[: text.index("<|START_OF_TURN_TOKEN|>")]
            text = text.removeprefix("<|CHATBOT_TOKEN|>")
            rest = ""
        text = text.removesuffix("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>")
        text = text.split("<｜end▁of▁sentence｜>")[0]
        if rest.startswith("Here are my reasoning steps:") and reasoning:
            rest = ""
        # The prompt may have opened (or closed) a thought that the message
        # does not have: its own text begins at the assistant's header.
        again = True
        while again:
            again = False
            text = text.rstrip("\n")
            for end in ENDS:
                if text.endswith(end):
                    text = text[: -len(end)]
                    again = True
        yield case, text, rest, prompt, content, reasoning, calls


def main():
    with open(os.path.join(HERE, "format_templates.json"),
              encoding="utf-8") as f:
        formats = json.load(f)
    only = sys.argv[1] if len(sys.argv) > 1 else None
    if not only:
        for old in [
                f for f in glob.glob(os.path.join(HERE, "formats", "*", "*"))
                if not os.path.basename(f).startswith("x-")]:
            os.remove(old)
    seen = set()
    for path in sorted(glob.glob(os.path.join(TEMPLATES, "*.jinja"))):
        name = os.path.basename(path)[: -len(".jinja")]
        if only and only not in name:
            continue
        with open(path, encoding="utf-8", newline="") as f:
            source = f.read()
        rows = []
        fmt = formats[name]["format"]
        for case, text, rest, prompt, content, reasoning, calls in cases(
                name, source):
            if only:
                print("==", case, repr(text), "\n   rest", repr(rest), "\n   ",
                      repr(prompt[-40:]))
                continue
            if not all(n in text for n, _ in calls):
                print(f"{name} {case}: writes no calls", file=sys.stderr)
                continue
            if fmt == "harmony" and calls and content:
                content, reasoning = "", content
            if content and content not in text:
                content = ""
            if reasoning and reasoning not in text:
                reasoning = ""
            if fmt == "nemotron-2" and content:
                continue  # a thought that the template never ends
            if fmt == "minimax-m3" and '"u"' not in text and "<u>" in text:
                continue  # values in tags of their own: never read
            if (fmt, text) in seen or text.startswith("Assistant:"):
                continue
            seen.add((fmt, text))
            rows.append({
                "name": case, "text": text, "rest": rest,
                "prompt": prompt[-60:], "content": content,
                "reasoning": reasoning,
                "calls": [{"name": n, "arguments": a} for n, a in calls]})
        if not rows:
            continue
        folder = os.path.join(HERE, "formats", fmt)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{name}.json"), "w",
                  encoding="utf-8") as f:
            f.write("[\n" + ",\n".join(
                json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")


main()
