"""Tools and structured output by the official OpenAI SDK, against the server
at argv[1]; prints TAP.

A model of 135 million weights at temperature 1 has no idea what it says: all
that is right here is so by construction.  Every response and chunk is held
against OpenAI's published schema where ../shared is there.
"""

import enum
import json
import re
import sys
import typing

import jsonschema
import openai
import pydantic

import openapi

BASE = sys.argv[1]
count = failed = 0


def ok(cond, name, note=None):
    global count, failed
    count += 1
    if not cond:
        failed += 1
    print("%sok %d - %s" % ("" if cond else "not ", count, name))
    if not cond and note is not None:
        for line in str(note).splitlines()[:20]:
            print("#   " + line)
    sys.stdout.flush()


client = openai.OpenAI(base_url=BASE, api_key="none", max_retries=0,
                       timeout=300)
USER = [{"role": "user", "content": "What is the weather in Oslo today?"}]
CHAT = dict(model="default", messages=USER, temperature=1, max_tokens=300)


def function(name, description="", **properties):
    return {"type": "function", "function": {
        "name": name, "description": description, "strict": True,
        "parameters": {"type": "object", "properties": properties,
                       "required": list(properties),
                       "additionalProperties": False}}}


WEATHER = function(
    "get_weather", "Weather of a city.",
    city={"type": "string", "minLength": 1, "maxLength": 20},
    unit={"enum": ["celsius", "fahrenheit"]},
    days={"type": "integer", "minimum": 1, "maximum": 14})
TIME = function("get_time", "Time of a place.",
                zone={"type": "string", "pattern": "^[A-Z][a-z]{2,8}/[A-Z]"
                                                   "[a-z]{2,8}$"})
TOOLS = [WEATHER, TIME]
SCHEMAS = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}


def valid_calls(message):
    """Why the calls of a message are not all valid; "" if they are."""
    for call in message.tool_calls or []:
        try:
            jsonschema.validate(json.loads(call.function.arguments),
                                SCHEMAS[call.function.name])
        except Exception as e:
            return "%s: %r" % (call, e)
        if not call.id.startswith("call_"):
            return call.id
    return ""


# --- parse() with pydantic models ---

class Kind(str, enum.Enum):
    rain = "rain"
    sun = "sun"


class Step(pydantic.BaseModel):
    explanation: typing.Annotated[str, pydantic.Field(max_length=30)]
    value: typing.Annotated[int, pydantic.Field(ge=0, le=100)]


class Report(pydantic.BaseModel):
    """A report."""
    city: typing.Annotated[str, pydantic.Field(max_length=20)]
    kind: Kind
    sure: bool
    share: typing.Annotated[float, pydantic.Field(ge=0, le=1)]
    steps: typing.Annotated[list[Step], pydantic.Field(max_length=2)]
    note: typing.Annotated[str, pydantic.Field(max_length=10)] | None


def parsed(**more):
    """parse() until it came to its end: a weak model may write for ever."""
    for seed in range(20):
        try:
            r = client.chat.completions.parse(**CHAT, seed=seed, **more)
            return r.choices[0], seed
        except openai.LengthFinishReasonError:
            pass
    return None, 0


c, seed = parsed(response_format=Report)
ok(c and c.finish_reason == "stop" and isinstance(c.message.parsed, Report),
   "parse() with a pydantic model", c)
first = c.message.content

# Streamed by the SDK's helper: the same.
with client.chat.completions.stream(
        **CHAT, response_format=Report, seed=seed) as stream:
    deltas = "".join(e.delta for e in stream if e.type == "content.delta")
    last = stream.get_final_completion()
ok(deltas == first == last.choices[0].message.content,
   "stream() adds up to the same", (deltas, first))
ok(isinstance(last.choices[0].message.parsed, Report), "... and parses")


class get_weather(pydantic.BaseModel):
    """Weather of a city."""
    city: typing.Annotated[str, pydantic.Field(max_length=20)]
    kind: Kind


class get_steps(pydantic.BaseModel):
    """Steps of a proof."""
    steps: typing.Annotated[list[Step], pydantic.Field(max_length=2)]


PARSED = [openai.pydantic_function_tool(get_weather),
          openai.pydantic_function_tool(get_steps)]

c, seed = parsed(tools=PARSED, tool_choice="required",
                 parallel_tool_calls=False)
ok(c and c.finish_reason == "tool_calls" and c.message.tool_calls
   and all(isinstance(t.function.parsed_arguments, (get_weather, get_steps))
           for t in c.message.tool_calls), "parse() with tools", c)

with client.chat.completions.stream(
        **CHAT, tools=PARSED, tool_choice="required", seed=seed,
        parallel_tool_calls=False) as stream:
    parts, done = {}, []
    for e in stream:
        if e.type == "tool_calls.function.arguments.delta":
            parts[e.index] = parts.get(e.index, "") + e.arguments_delta
        if e.type == "tool_calls.function.arguments.done":
            done.append(e)
    last = stream.get_final_completion()
calls = last.choices[0].message.tool_calls
ok([x.function.arguments for x in calls]
   == [x.function.arguments for x in c.message.tool_calls]
   and [x.id for x in calls] and len(done) == len(calls),
   "stream() of calls adds up to the same", (calls, c.message.tool_calls))
ok([parts[i] for i in sorted(parts)] == [x.function.arguments for x in calls],
   "... its deltas too", parts)

# --- tool_choice ---

for seed in range(4):
    r = client.chat.completions.create(
        **CHAT, tools=TOOLS, tool_choice="required", seed=seed)
    c = r.choices[0]
    if c.finish_reason == "length":
        continue
    ok(c.message.tool_calls and not valid_calls(c.message)
       and c.finish_reason == "tool_calls", "required, seed %d" % seed,
       valid_calls(c.message) or c)

for name in SCHEMAS:
    r = client.chat.completions.create(
        **CHAT, tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": name}})
    c = r.choices[0]
    ok([x.function.name for x in c.message.tool_calls or []] == [name]
       and not valid_calls(c.message) and c.finish_reason == "tool_calls",
       "named: %s, once" % name, c)

r = client.chat.completions.create(
    **CHAT, tools=TOOLS, tool_choice={
        "type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [
                {"type": "function", "function": {"name": "get_time"}}]}})
names = {x.function.name for x in r.choices[0].message.tool_calls or []}
ok(names == {"get_time"}, "allowed_tools: no other is called", r)

r = client.chat.completions.create(
    **CHAT, tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
    n=4)
ok(all(len(c.message.tool_calls) == 1 and not valid_calls(c.message)
       for c in r.choices), "parallel_tool_calls false: one each", r)

r = client.chat.completions.create(
    **{**CHAT, "max_tokens": 60}, tools=TOOLS, tool_choice="none", n=2)
ok(all(not c.message.tool_calls and c.finish_reason in ("stop", "length")
       for c in r.choices), "none: no calls", r)

r = client.chat.completions.create(
    **{**CHAT, "max_tokens": 200}, tools=TOOLS, n=6)
ok(all(not valid_calls(c.message) for c in r.choices
       if c.finish_reason == "tool_calls"), "auto: whatever is called is valid",
   [valid_calls(c.message) for c in r.choices])

# --- streams equal wholes ---

for seed in range(3):
    args = dict(CHAT, tools=TOOLS, tool_choice="required", seed=seed)
    whole = client.chat.completions.create(**args).choices[0]
    ended, whole = whole.finish_reason, whole.message
    text, calls, finish = "", {}, None
    for chunk in client.chat.completions.create(
            **args, stream=True, stream_options={"include_usage": True}):
        for c in chunk.choices:
            text += c.delta.content or ""
            finish = c.finish_reason or finish
            for d in c.delta.tool_calls or []:
                if d.index not in calls:
                    calls[d.index] = [d.function.name, ""]
                    good = d.id and d.type == "function"
                else:
                    good = d.id is None and d.function.name is None
                calls[d.index][1] += d.function.arguments
    ok(good and finish == ended and text == (whole.content or "")
       and [calls[i] for i in sorted(calls)]
       == [[x.function.name, x.function.arguments] for x in whole.tool_calls],
       "a stream adds up to the whole, seed %d" % seed, (calls, whole))

# --- a loop with results ---

messages = list(USER)
for turn in range(3):
    r = client.chat.completions.create(
        **{**CHAT, "messages": messages}, tools=TOOLS,
        tool_choice="required" if turn < 2 else "none", seed=turn)
    m = r.choices[0].message
    messages.append(m.model_dump(exclude_none=True))
    for call in reversed(m.tool_calls or []):
        messages.append({"role": "tool", "tool_call_id": call.id,
                         "content": [{"type": "text", "text": "Rain."}]})
ok(len(messages) > 5 and not m.tool_calls and r.usage.prompt_tokens > 60,
   "a loop of calls and results", messages)

# --- custom tools, legacy functions ---

CUSTOM = [{"type": "custom", "custom": {
    "name": "date", "format": {"type": "grammar", "grammar": {
        "syntax": "regex", "definition": r"20[0-9]{2}-[01][0-9]"}}}},
    {"type": "custom", "custom": {
        "name": "sum", "description": "adds", "format": {
            "type": "grammar", "grammar": {
                "syntax": "lark",
                "definition": "start: NUM (\" + \" NUM)~1..3\n"
                              "NUM: /[1-9][0-9]?/"}}}}]
for name, pattern in (("date", r"20\d\d-[01]\d"),
                      ("sum", r"[1-9]\d?( \+ [1-9]\d?){1,3}")):
    r = client.chat.completions.create(
        **CHAT, tools=CUSTOM,
        tool_choice={"type": "custom", "custom": {"name": name}})
    call = (r.choices[0].message.tool_calls or [None])[0]
    ok(call and call.type == "custom" and call.custom.name == name
       and re.fullmatch(pattern, call.custom.input),
       "a custom tool with a grammar: %s" % name, r)

r = client.chat.completions.create(
    **CHAT, functions=[WEATHER["function"]],
    function_call={"name": "get_weather"})
c = r.choices[0]
try:
    jsonschema.validate(json.loads(c.message.function_call.arguments),
                        SCHEMAS["get_weather"])
    good = c.finish_reason == "function_call" and not c.message.tool_calls
except Exception as e:
    good = False
ok(good, "legacy functions", c)
r = client.chat.completions.create(
    **{**CHAT, "max_tokens": 10, "messages": USER + [
        c.message.model_dump(exclude_none=True),
        {"role": "function", "name": "get_weather", "content": "Rain."}]},
    functions=[WEATHER["function"]], function_call="none")
ok(r.choices[0].message.content, "... and their results", r)

# --- response_format and what is like it ---

SCHEMA = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 12},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    "from": {"type": "string", "format": "ipv4"}},
    "required": ["name", "tags", "from"], "additionalProperties": False}


def formats(**more):
    r = client.chat.completions.create(**CHAT, n=2, **more)
    return [c.message.content for c in r.choices
            if c.finish_reason == "stop"]


def validates(texts):
    for t in texts:
        try:
            jsonschema.validate(json.loads(t), SCHEMA,
                                format_checker=jsonschema.FormatChecker())
        except Exception:
            return False
    return len(texts) > 0


named = {"name": "n", "schema": SCHEMA, "strict": True}
t = formats(response_format={"type": "json_schema", "json_schema": named})
ok(validates(t), "json_schema", t)
ok(all(x == json.dumps(json.loads(x), separators=(",", ":"),
                       ensure_ascii=False) or "\\" in x for x in t),
   "... compact", t)
t = formats(response_format={"type": "json_schema", "json_schema": {
    **named, "whitespace": "single", "order": "free"}})
ok(validates(t) and all('": ' in x for x in t), "... spaced, in any order", t)
t = formats(extra_body={"guided_json": SCHEMA})
ok(validates(t), "guided_json", t)
t = formats(extra_body={"guided_json": json.dumps(SCHEMA)})
ok(validates(t), "... as a string", t)
t = formats(extra_body={"structured_outputs": {"json": SCHEMA}})
ok(validates(t), "structured_outputs.json", t)
t = formats(extra_body={"json_schema": SCHEMA})
ok(validates(t), "json_schema, llama-server's", t)
t = formats(extra_body={"guided_choice": ["yes", "no, never"]})
ok(t and set(t) <= {"yes", "no, never"}, "guided_choice", t)
t = formats(extra_body={"guided_regex": "[ab]{3}-[0-9]{2}"})
ok(t and all(re.fullmatch("[ab]{3}-[0-9]{2}", x) for x in t),
   "guided_regex", t)
for more in ({"response_format": {"type": "grammar",
                                  "grammar": 'root ::= "x" [0-9]+ "y"'}},
             {"extra_body": {"grammar": 'root ::= "x" [0-9]{1,5} "y"'}},
             {"extra_body": {"guided_grammar": 'start: "x" /[0-9]{1,5}/ "y"'}}):
    t = formats(**more)
    ok(all(re.fullmatch("x[0-9]+y", x) for x in t), "%s" % more, t)
r = client.chat.completions.create(
    **{**CHAT, "max_tokens": 60}, response_format={"type": "json_object"},
    n=4)
ok(all(c.message.content.startswith("{") for c in r.choices)
   and all(isinstance(json.loads(c.message.content), dict)
           for c in r.choices if c.finish_reason == "stop"), "json_object", r)
r = client.completions.create(
    model="default", prompt="A person: ", temperature=1, max_tokens=200,
    extra_body={"response_format": {"type": "json_schema",
                                    "json_schema": named}})
ok(r.choices[0].finish_reason == "length" or validates([r.choices[0].text]),
   "completions: response_format", r)
r = client.chat.completions.create(
    **{**CHAT, "max_tokens": 5}, response_format={
        "type": "json_schema", "json_schema": named})
ok(r.choices[0].finish_reason == "length", "cut short: length", r)
r = client.chat.completions.create(
    **CHAT, response_format={"type": "json_schema", "json_schema": named},
    stop=["}", "\"", "a"])
ok(r.choices[0].finish_reason == "stop"
   and validates([r.choices[0].message.content]),
   "no stop string cuts it", r)
r = client.chat.completions.create(
    **CHAT, response_format={"type": "json_schema", "json_schema": named},
    tools=TOOLS, n=3)
ok(all(c.message.tool_calls and not valid_calls(c.message)
       or validates([c.message.content]) for c in r.choices
       if c.finish_reason != "length"), "a format and tools together", r)

# --- refused ---

for args, param in (
        ({"response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "integer", "minimum": 2,
                                    "maximum": 1}}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"$ref": "https://x.example/y"}}}},
         "response_format"),
        ({"extra_body": {"guided_regex": "a("}}, "guided_regex"),
        ({"extra_body": {"grammar": "root ::= x"}}, "grammar"),
        ({"tools": [function("f", x={"type": "string", "minLength": 3,
                                     "maxLength": 2})],
          "tool_choice": "required"}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {
            "name": "g", "format": {"type": "grammar", "grammar": {
                "syntax": "lark", "definition": "start: NOSUCH"}}}}],
          "tool_choice": "required"}, "tools[0]")):
    try:
        client.chat.completions.create(**CHAT, **args)
        ok(False, "refused: %s" % args)
    except openai.BadRequestError as e:
        ok(e.param and e.param.startswith(param) and e.body["message"],
           "refused: %s" % e.body["message"][:100], e.body)

# --- OpenAI's schema on the raw bytes ---

raw = client.chat.completions.with_raw_response.create(
    **CHAT, tools=TOOLS, tool_choice="required", logprobs=True)
bad = openapi.check("CreateChatCompletionResponse", json.loads(raw.text))
ok(not bad, "an answer with calls is valid", "\n".join(bad))
with client.chat.completions.with_streaming_response.create(
        **CHAT, tools=TOOLS, tool_choice="required", stream=True,
        stream_options={"include_usage": True,
                        "include_obfuscation": True}) as raw:
    events = [json.loads(line[6:]) for line in raw.iter_lines()
              if line.startswith("data: {")]
bad = [m for e in events
       for m in openapi.check("CreateChatCompletionStreamResponse", e)]
ok(len(events) > 4 and not bad, "every chunk is valid", "\n".join(bad))
details = events[-1]["usage"]["completion_tokens_details"]
ok(details["reasoning_tokens"] == 0, "no reasoning, no reasoning_tokens")

print("1..%d" % count)
sys.exit(failed > 0)
