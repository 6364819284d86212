"""OpenAI's published schema, with its known defects mended, as a checker.

The schema is read from ../shared where that is there; without it,
check() does nothing and present is False. The defects: 3.0's `nullable`
in a 3.1 document, and what the legacy completions may not leave null
although OpenAI's own do: a chunk's finish_reason, and the logprobs of an
echoed prompt's first token.
"""

import gzip
import json
import os

PATH = "../shared/data/openai-openapi/openapi.json.gz"
present = os.path.exists(PATH)


def mend(node):
    """{..., nullable: true} -> {anyOf: [{...}, {type: null}]}"""
    if isinstance(node, list):
        return [mend(x) for x in node]
    if not isinstance(node, dict):
        return node
    node = {k: mend(v) for k, v in node.items()}
    if node.get("nullable") is True:
        node.pop("nullable")
        return {"anyOf": [node, {"type": "null"}]}
    return node


def load():
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    doc = mend(json.load(gzip.open(PATH)))
    choice = doc["components"]["schemas"]["CreateCompletionResponse"]
    choice = choice["properties"]["choices"]["items"]["properties"]
    choice["finish_reason"] = {
        "anyOf": [choice["finish_reason"], {"type": "null"}]}
    logprobs = choice["logprobs"]
    logprobs = logprobs.get("anyOf", [logprobs])[0]["properties"]
    for name in ("token_logprobs", "top_logprobs"):
        logprobs[name]["items"] = {
            "anyOf": [logprobs[name]["items"], {"type": "null"}]}
    registry = Registry().with_resource(
        "urn:oai", DRAFT202012.create_resource(doc))

    def validator(name):
        return Draft202012Validator(
            {"$ref": "urn:oai#/components/schemas/" + name},
            registry=registry)

    return validator


_validator = None
_cache = {}


def check(name, value):
    """A list of messages; empty if value is a valid `name`."""
    global _validator
    if not present:
        return []
    if _validator is None:
        _validator = load()
    if name not in _cache:
        _cache[name] = _validator(name)
    return [
        "%s: %s" % ("/".join(map(str, e.absolute_path)), e.message[:200])
        for e in _cache[name].iter_errors(value)
    ]
