"""The official OpenAI SDK against the server at argv[1]; prints TAP.

Sync, async, streamed and not; every response and chunk is held against
OpenAI's published schema where ../shared is there.
"""

import asyncio
import json
import sys
import urllib.request

import openai

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


def valid(name, value, what):
    bad = openapi.check(name, value)
    ok(not bad, "%s is a valid %s" % (what, name), "\n".join(bad))


def post(path, body):
    """Raw: (status, headers, text)."""
    req = urllib.request.Request(
        BASE + path, json.dumps(body).encode(),
        {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(req) as r:
            return r.status, r.headers, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


def events(text):
    return [json.loads(e[6:]) for e in text.split("\n\n")
            if e.startswith("data: {")]


MESSAGES = [{"role": "user", "content": "Say hello."}]
client = openai.OpenAI(base_url=BASE, api_key="none", max_retries=0)

if not openapi.present:
    print("# no ../shared: nothing is held against OpenAI's schema")

# Models.
models = client.models.list().data
ok([m.id for m in models] == ["smollm2", "default"], "models.list")
ok(client.models.retrieve("default").id == "default", "models.retrieve")
try:
    client.models.retrieve("nosuch")
    ok(False, "models.retrieve of an unknown model")
except openai.NotFoundError as e:
    ok(e.code == "model_not_found", "models.retrieve of an unknown model")
with urllib.request.urlopen(BASE + "/models") as r:
    valid("ListModelsResponse", json.load(r), "the list of models")

# Chat, whole.
chat = client.chat.completions.create(
    model="default", messages=MESSAGES, temperature=0, max_tokens=12)
whole = chat.choices[0].message.content
ok(whole and chat.choices[0].finish_reason in ("stop", "length"), "chat")
ok(chat.usage.total_tokens
   == chat.usage.prompt_tokens + chat.usage.completion_tokens, "its usage")
ok(chat.usage.completion_tokens <= 12, "max_tokens")
ok(chat.id.startswith("chatcmpl-"), "its id")

# Chat, streamed: the same text.
text, chunks = "", 0
stream = client.chat.completions.create(
    model="default", messages=MESSAGES, temperature=0, max_tokens=12,
    stream=True, stream_options={"include_usage": True})
usage = None
for chunk in stream:
    chunks += 1
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    if chunk.usage:
        usage = chunk.usage
ok(text == whole, "streamed text is the whole one", repr((text, whole)))
ok(usage and usage.completion_tokens == chat.usage.completion_tokens,
   "include_usage")
ok(chunks > 3, "in many chunks")


async def many():
    aclient = openai.AsyncOpenAI(base_url=BASE, api_key="none", max_retries=0)

    async def one(i):
        stream = await aclient.chat.completions.create(
            model="smollm2", messages=MESSAGES, temperature=0, max_tokens=12,
            stream=True)
        return "".join([c.choices[0].delta.content or ""
                        async for c in stream if c.choices])

    texts = await asyncio.gather(*[one(i) for i in range(8)])
    ok(all(t == whole for t in texts), "8 at once, async: each the same",
       repr(texts))
    r = await aclient.completions.create(
        model="default", prompt="Once upon a time", max_tokens=5,
        temperature=0)
    ok(r.choices[0].text != "", "async completion")
    await aclient.close()


asyncio.run(many())

# Logprobs.
r = client.chat.completions.create(
    model="default", messages=MESSAGES, temperature=0, max_tokens=5,
    logprobs=True, top_logprobs=3)
lp = r.choices[0].logprobs.content
ok(len(lp) == r.usage.completion_tokens or r.choices[0].finish_reason
   == "stop", "logprobs: one a token")
ok("".join(x.token for x in lp) == r.choices[0].message.content,
   "their tokens are the text")
ok(all(len(x.top_logprobs) == 3 and x.top_logprobs[0].logprob == x.logprob
       and x.top_logprobs[0].token == x.token for x in lp),
   "greedy: the token is the first of the top")
ok(all(bytes(x.bytes).decode("utf-8", "replace") == x.token for x in lp),
   "bytes are the token's")

# n, seed.
r = client.chat.completions.create(
    model="default", messages=MESSAGES, n=3, seed=7, max_tokens=8)
ok([c.index for c in r.choices] == [0, 1, 2], "n")
ok(len({c.message.content for c in r.choices}) > 1, "choices differ")
r2 = client.chat.completions.create(
    model="default", messages=MESSAGES, n=3, seed=7, max_tokens=8)
ok([c.message.content for c in r.choices]
   == [c.message.content for c in r2.choices], "a seed repeats them")

# Completions.
r = client.completions.create(
    model="default", prompt=["The capital of France is", "2 + 2 ="],
    temperature=0, max_tokens=4, logprobs=2, echo=True)
ok(len(r.choices) == 2
   and r.choices[0].text.startswith("The capital of France is")
   and r.choices[1].text.startswith("2 + 2 ="), "two prompts with echo",
   [c.text for c in r.choices])
lp = r.choices[0].logprobs
ok(lp.token_logprobs[0] is None
   and all(x is not None and x <= 0 for x in lp.token_logprobs[1:]),
   "echo: logprobs of the prompt too", lp.token_logprobs)
ok(lp.top_logprobs[1][lp.tokens[1]] == lp.token_logprobs[1]
   if lp.tokens[1] in lp.top_logprobs[1]
   else lp.token_logprobs[1] <= min(lp.top_logprobs[1].values()),
   "the prompt's logprobs are of the prompt's tokens", lp)
scored = client.completions.create(
    model="default", prompt="The capital of France is Paris", max_tokens=0,
    temperature=0, logprobs=1, echo=True).choices[0]
ok(scored.text == "The capital of France is Paris"
   and len(scored.logprobs.tokens) == 6, "max_tokens 0 with echo", scored)
ok(scored.logprobs.token_logprobs[-1] > -1.5,
   "Paris is likely", scored.logprobs.token_logprobs)
ok("".join(lp.tokens) == r.choices[0].text, "tokens are the text")
ok([r.choices[0].text.find(t, o) for t, o in zip(lp.tokens, lp.text_offset)]
   == lp.text_offset, "text_offset")
text = "".join(c.choices[0].text for c in client.completions.create(
    model="default", prompt="Once upon a time", temperature=0, max_tokens=9,
    stream=True))
ok(text == client.completions.create(
    model="default", prompt="Once upon a time", temperature=0,
    max_tokens=9).choices[0].text, "streamed completion is the whole one")

# Errors as the SDK's classes.
for kind, args in (
        (openai.NotFoundError, {"model": "nosuch"}),
        (openai.BadRequestError, {"temperature": 3}),
        (openai.BadRequestError, {"messages": []}),
        (openai.BadRequestError, {"tools": [5]})):
    try:
        client.chat.completions.create(
            **{"model": "default", "messages": MESSAGES, **args})
        ok(False, "%s for %s" % (kind.__name__, list(args)))
    except kind as e:
        ok(e.param.startswith(list(args)[0]) and e.body["message"],
           "%s for %s" % (kind.__name__, list(args)), e.body)

# The schema, on the raw bytes.
body = {"model": "default", "messages": MESSAGES, "max_tokens": 4,
        "logprobs": True, "top_logprobs": 2, "n": 2}
status, headers, text = post("/chat/completions", body)
valid("CreateChatCompletionResponse", json.loads(text), "a chat")
for more in ({}, {"stream_options": {"include_usage": True,
                                     "include_obfuscation": True}}):
    status, headers, text = post(
        "/chat/completions", {**body, "stream": True, **more})
    bad = [m for e in events(text)
           for m in openapi.check("CreateChatCompletionStreamResponse", e)]
    ok(len(events(text)) > 4 and not bad and text.endswith("data: [DONE]\n\n"),
       "every chunk of a chat is valid", "\n".join(bad))
    ok("\nid:" not in text and "\nretry:" not in text, "no id:, no retry:")
body = {"model": "default", "prompt": "Hi", "max_tokens": 4, "logprobs": 2,
        "echo": True}
status, headers, text = post("/completions", body)
valid("CreateCompletionResponse", json.loads(text), "a completion")
status, headers, text = post("/completions", {**body, "stream": True})
bad = [m for e in events(text)
       for m in openapi.check("CreateCompletionResponse", e)]
ok(not bad, "every chunk of a completion is valid", "\n".join(bad))
for path, body in (("/chat/completions", {"model": "nosuch",
                                          "messages": MESSAGES}),
                   ("/chat/completions", []), ("/nosuch", {})):
    status, headers, text = post(path, body)
    ok(status >= 400, "%s: an error" % path)
    valid("ErrorResponse", json.loads(text), "the error %d" % status)

print("1..%d" % count)
sys.exit(failed > 0)
