#!/usr/bin/env python3
"""Expected texts of chat templates, from jinja2 as transformers sets it up.

Usage: make_goldens.py            writes goldens.json and cases/*.out, *.err
       make_goldens.py FILE CONV  prints what one template gives for one of
                                  conversations.json (to compare by hand)

Needs: pip install transformers jinja2 gguf.  Templates of published models
are read from ../shared/data/chat-templates and are not copied: goldens.json
has only lengths and FNV-1a hashes, by template and conversation.  The clock
stands at 2026-01-15 12:34:56 UTC.
"""

import copy
import datetime
import glob
import json
import os
import sys

import transformers.utils.chat_template_utils as ctu

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TEMPLATES = os.path.join(ROOT, "..", "shared", "data", "chat-templates")
MODEL = os.path.join(
    os.environ.get("NGX_LLM_CACHE")
    or os.path.expanduser("~/.cache/ngx-llm"),
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 15, 12, 34, 56)


ctu.datetime = FixedClock


def render(source, variables):
    template = ctu._compile_jinja_template(source)
    return template.render(**copy.deepcopy(variables))


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def default_template():
    import gguf

    field = gguf.GGUFReader(MODEL).fields["tokenizer.chat_template"]
    return bytes(field.parts[field.data[0]]).decode()


def read(path):
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


def main():
    convs = json.loads(read(os.path.join(HERE, "conversations.json")))
    for case in sorted(glob.glob(os.path.join(HERE, "cases", "*.jinja"))):
        base = case[: -len(".jinja")]
        variables = {}
        if os.path.exists(base + ".json"):
            variables = json.loads(read(base + ".json"))
        for ext in (".out", ".err"):
            if os.path.exists(base + ext):
                os.remove(base + ext)
        try:
            text, ext = render(read(case), variables), ".out"
        except Exception as e:
            text, ext = f"{type(e).__name__}: {e}\n", ".err"
        with open(base + ext, "w", encoding="utf-8", newline="") as f:
            f.write(text)

    sources = {"default": default_template()}
    for path in sorted(glob.glob(os.path.join(TEMPLATES, "*.jinja"))):
        sources[os.path.basename(path)[: -len(".jinja")]] = read(path)

    goldens = {}
    for name, source in sources.items():
        rows = goldens[name] = {}
        for conv, variables in convs.items():
            try:
                data = render(source, variables).encode()
                rows[conv] = [len(data), fnv1a(data)]
            except Exception as e:
                rows[conv] = f"{type(e).__name__}: {e}"[:60]

    with open(os.path.join(HERE, "goldens.json"), "w", encoding="utf-8") as f:
        f.write("{\n")
        f.write(",\n".join(
            json.dumps(n) + ": {\n" + ",\n".join(
                f" {json.dumps(c)}: {json.dumps(r, separators=(',', ':'))}"
                for c, r in rows.items()) + "\n}"
            for n, rows in goldens.items()))
        f.write("\n}\n")


if len(sys.argv) == 3:
    source = default_template() if sys.argv[1] == "default" else read(
        sys.argv[1])
    convs = json.loads(read(os.path.join(HERE, "conversations.json")))
    sys.stdout.write(render(source, convs[sys.argv[2]]))
else:
    main()
