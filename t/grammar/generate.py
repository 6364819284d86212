#!/usr/bin/env python3
"""Random JSON Schemas with instances, judged by Python's jsonschema.

    generate.py [--seed N] [--count N] [--max-bytes N] [FILE]
    generate walk FILE | generate.py --judge FILE

A line of FILE (t/grammar/generate_goldens.jsonl) is one schema:

    {"schema": ..., "instances": [["<JSON text>", verdict], ...]}

verdict 1: valid, 0: invalid, 2: valid, with an exponent in some number, so
that a grammar need not have this spelling.  --judge prints TAP: are the texts
that a grammar wrote ("W LINE BYTES TEXT") valid, with no name twice?  Nothing
here knows the engine; patterns and formats are those on which Python and the
standards agree.
"""

import argparse
import json
import os
import random
import re
import sys
from decimal import Decimal

import jsonschema
from jsonschema import validators

HERE = os.path.dirname(os.path.abspath(__file__))
DRAFTS = {
    4: (validators.Draft4Validator, "http://json-schema.org/draft-04/schema#"),
    6: (validators.Draft6Validator, "http://json-schema.org/draft-06/schema#"),
    7: (validators.Draft7Validator, "http://json-schema.org/draft-07/schema#"),
    2019: (validators.Draft201909Validator,
           "https://json-schema.org/draft/2019-09/schema"),
    2020: (validators.Draft202012Validator,
           "https://json-schema.org/draft/2020-12/schema"),
}

NAMES = ["a", "b", "c", "id", "ab", "x-1", "\u00e9", "a b", "q\"", "S_1", ""]
WORDS = ["", "a", "b", "ab", "abc", "x-1", "foo", "Zz", "\u00e9", "\u4e2d\u6587",
         "\U0001f600", "a/b", "q\"t", "\\", "tab\there", "12", "aaaaaa", "true",
         "null", "e\u0301", "bar baz"]

# Patterns on which Python's re and ECMA-262 agree, with strings in and near.
PATTERNS = {
    "^a": ["a", "ab", "abc", "ba"],
    "b$": ["b", "ab", "bb", "ba"],
    "^[ab]+$": ["a", "ab", "bba", "abc"],
    "[0-9]": ["1", "a1", "x-1", "12"],
    "^[a-z]{2,4}$": ["ab", "abcd", "foo", "abcde", "a"],
    "^(foo|bar)( baz)?$": ["foo", "bar baz", "foo ", "bar bazz"],
    "^[^a]*$": ["", "b", "\u00e9b", "xa"],
    "^.{3}$": ["abc", "\u4e2d\u6587x", "ab", "\U0001f600ab"],
    "^S_": ["S_1", "S_", "s_"],
    "^\\$[A-Z]{2}\\.[0-9]+$": ["$AB.1", "$XY.42", "$AB1", "$AB."],
    "^(?!a)[a-z]+$": ["b", "foo", "a", "ab"],
    "^(?=.*[0-9])[a-z0-9]+$": ["a1", "12", "foo", "f00"],
    "x|y": ["x", "ayb", "z", "x-1"],
    "^$": ["", " "],
    "\\u00e9": ["\u00e9", "a\u00e9a", "e"],
    "^[+-]?[0-9]+(,[0-9]{3})*$": ["1", "-12", "+1,000", "1,00"],
    "^(a|b(c|d)*)e?$": ["a", "be", "bcdce", "bca", "ae"],
}

# Formats whose checkers in jsonschema are exact: since draft, in, out.
FORMATS = {
    "ipv4": (4, ["127.0.0.1", "255.255.255.0", "10.2.3.40"],
             ["256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4.5"]),
    "ipv6": (4, ["::1", "2001:db8::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4"],
             ["1:2", ":::", "12345::", "1:2:3:4:5:6:7:8:9"]),
    "date": (7, ["2024-02-29", "1999-12-31", "2000-01-01"],
             ["2023-02-29", "1999-13-01", "1999-1-1", "19990101"]),
    "uuid": (2019, ["2eb8aa08-aa98-11ea-b4aa-73b441d16380",
                    "2EB8AA08-AA98-11EA-B4AA-73B441D16380"],
             ["2eb8aa08-aa98-11ea-b4aa-73b441d1638",
              "2eb8aa08aa9811eab4aa73b441d16380"]),
}

MULTIPLES = ["1", "2", "3", "7", "10", "0.5", "0.1", "0.25", "0.01", "1.5",
             "0.3", "100"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]


def is_integer(draft):
    def check(_, v):
        if isinstance(v, bool):
            return False
        if isinstance(v, int):
            return True
        return draft > 4 and isinstance(v, Decimal) and v == v.to_integral_value()
    return check


def validator(draft, schema):
    base = DRAFTS[draft][0]
    checker = jsonschema.FormatChecker(formats=())
    checker.checkers = {f: base.FORMAT_CHECKER.checkers[f]
                        for f, (since, _, _) in FORMATS.items()
                        if since <= draft}
    types = base.TYPE_CHECKER.redefine("integer", is_integer(draft))
    # A reference to a schema that says its draft would bring base back.
    schema = {k: v for k, v in schema.items() if k != "$schema"}
    return validators.extend(base, type_checker=types)(
        schema, format_checker=checker)


class Schemas:
    """A random schema of one draft."""

    def __init__(self, rnd, draft):
        self.r = rnd
        self.draft = draft
        self.defs = [f"d{i}" for i in range(rnd.choice([0, 0, 1, 2, 3]))]
        self.key = "$defs" if draft >= 2019 else "definitions"
        self.budget = rnd.choice([4, 8, 14, 22])

    def make(self):
        root = self.schema(0, 0)
        while not isinstance(root, dict):
            root = self.schema(0, 0)
        defs = {d: self.schema(1, i + 1) for i, d in enumerate(self.defs)}
        used, more = set(), {self.key: root}
        while more:
            text = json.dumps(more)
            more = {d: s for d, s in defs.items() if d not in used
                    and f'"#/{self.key}/{d}"' in text}
            used |= set(more)
        if used:
            root[self.key] = {d: defs[d] for d in sorted(used)}
        if self.draft != 2020 or self.r.random() < 0.3:
            root = {"$schema": DRAFTS[self.draft][1], **root}
        return root

    # place: definitions that may be referred to in place, from this number
    # on; None below a member or an item, where every reference is fine.

    def child(self, depth):
        return self.schema(depth + 1, None)

    def schema(self, depth, place):
        r = self.r
        self.budget -= 1
        if self.budget < 0 or depth > 4:
            return self.leaf()
        x = r.random()
        if x < 0.03 and self.draft >= 6:
            return r.random() < 0.7
        if x < 0.06:
            return {}
        if x < 0.14:
            ref = self.reference(place)
            if ref:
                if self.draft >= 2019 and r.random() < 0.3:
                    return {"$ref": ref, **self.plain(depth)}
                return {"$ref": ref}
        if x < 0.36:
            return self.combined(depth, place)
        return self.plain(depth)

    def reference(self, place):
        to = self.defs if place is None else self.defs[place:]
        if place is None and self.r.random() < 0.4:
            return "#"
        return f"#/{self.key}/{self.r.choice(to)}" if to else None

    def combined(self, depth, place):
        r = self.r
        s = {} if r.random() < 0.5 else self.plain(depth)
        for _ in range(r.choice([1, 1, 1, 2])):
            kind = r.choice(["allOf", "anyOf", "anyOf", "oneOf", "oneOf", "not",
                             "if"])
            if kind == "not":
                s["not"] = self.schema(depth + 1, place)
            elif kind == "if":
                if self.draft < 7:
                    continue
                s["if"] = self.schema(depth + 1, place)
                for k in ("then", "else"):
                    if r.random() < 0.75:
                        s[k] = self.schema(depth + 1, place)
            else:
                s[kind] = [self.schema(depth + 1, place)
                           for _ in range(r.choice([1, 2, 2, 3]))]
        return s or self.leaf()

    def plain(self, depth):
        r = self.r
        kind = r.choice(["object"] * 4 + ["array"] * 3
                        + ["string", "number", "integer", "mixed", "leaf"])
        if kind == "leaf":
            return self.leaf()
        if kind == "mixed":
            types = r.sample(TYPES, r.randint(1, 3))
            s = {"type": types}
            for t in types:
                s.update(self.keywords(t, depth))
            return s
        s = {"type": kind} if r.random() < 0.8 else {}
        s.update(self.keywords(kind, depth))
        return s

    def leaf(self):
        r = self.r
        x = r.random()
        if x < 0.2:
            return {"enum": self.uniq([self.constant() for _ in
                                       range(r.randint(1, 4))])}
        if x < 0.3 and self.draft >= 6:
            return {"const": self.constant()}
        t = r.choice(TYPES[:5])
        s = {"type": t}
        if r.random() < 0.6:
            s.update(self.keywords(t, 9))
        return s

    @staticmethod
    def uniq(values):
        seen = {}
        for v in values:
            seen.setdefault(json.dumps(v, sort_keys=True), v)
        out = []
        for v in seen.values():
            if not any(v == o and isinstance(v, bool) == isinstance(o, bool)
                       for o in out):
                out.append(v)
        return out

    def constant(self):
        r = self.r
        return r.choice([
            None, True, False, 0, 1, -3, 12, 0.5, 2.25,
            r.choice(WORDS), r.choice(WORDS), [], {}, [1, "a"],
            {"a": 1}, {"a": None, "b": [True]}])

    def keywords(self, t, depth):
        return {"object": self.object, "array": self.array,
                "string": self.string, "number": self.number,
                "integer": self.number}.get(t, lambda _: {})(depth)

    def number(self, _):
        r = self.r
        s = {}
        lo = r.choice([-20, -1, 0, 0, 1, 5, 0.5, 1.25, -2.5])
        if r.random() < 0.4:
            self.bound(s, "inimum", lo)
        if r.random() < 0.4:
            self.bound(s, "aximum", lo + r.choice([0, 1, 3, 10, 200, 0.75]))
        if r.random() < 0.3:
            s["multipleOf"] = json.loads(r.choice(MULTIPLES))
        return s

    def bound(self, s, name, value):
        side = "m" + name
        if self.r.random() < 0.65:
            s[side] = value
        elif self.draft == 4:
            s[side] = value
            s["exclusiveM" + name] = self.r.random() < 0.8
        else:
            s["exclusiveM" + name] = value

    def string(self, _):
        r = self.r
        s = {}
        if r.random() < 0.35:
            s["minLength"] = r.choice([0, 1, 2, 3])
        if r.random() < 0.35:
            s["maxLength"] = s.get("minLength", 0) + r.choice([0, 1, 2, 5])
        x = r.random()
        if x < 0.3:
            s["pattern"] = r.choice(list(PATTERNS))
        elif x < 0.45:
            s["format"] = r.choice([f for f, v in FORMATS.items()
                                    if v[0] <= self.draft])
        return s

    def object(self, depth):
        r = self.r
        s = {}
        names = r.sample(NAMES, r.randint(1, 4))
        if r.random() < 0.85:
            s["properties"] = {n: self.child(depth) for n in names}
        if r.random() < 0.5:
            pool = names if r.random() < 0.8 else NAMES
            s["required"] = r.sample(pool, r.randint(1, min(3, len(pool))))
        x = r.random()
        if x < 0.3:
            s["additionalProperties"] = False
        elif x < 0.45:
            s["additionalProperties"] = self.child(depth)
        if r.random() < 0.2:
            s["patternProperties"] = {
                r.choice(list(PATTERNS)): self.child(depth)
                for _ in range(r.choice([1, 1, 2]))}
        if r.random() < 0.12 and self.draft >= 6:
            s["propertyNames"] = r.choice([
                {"maxLength": r.randint(1, 3)}, {"minLength": 1},
                {"pattern": r.choice(list(PATTERNS))},
                {"enum": r.sample(NAMES, 4)}, {"not": {"const": "a"}}])
        if r.random() < 0.18:
            s["minProperties"] = r.randint(0, 3)
        if r.random() < 0.18:
            s["maxProperties"] = s.get("minProperties", 0) + r.randint(0, 3)
        if r.random() < 0.15:
            self.dependent(s, depth)
        if r.random() < 0.08 and self.draft >= 2019:
            s["unevaluatedProperties"] = r.choice([False, self.child(depth)])
            s.pop("additionalProperties", None)
            if r.random() < 0.6:
                s[r.choice(["anyOf", "allOf"])] = [
                    {"properties": {r.choice(NAMES): self.child(depth)}},
                    {"required": [r.choice(NAMES)],
                     "properties": {r.choice(NAMES): self.child(depth)}}]
        return s

    def dependent(self, s, depth):
        r = self.r
        a = r.choice(NAMES)
        req = r.sample(NAMES, r.randint(1, 2))
        sub = {"properties": {r.choice(NAMES): self.child(depth)}}
        if r.random() < 0.4:
            sub["required"] = [r.choice(NAMES)]
        if self.draft < 2019:
            s["dependencies"] = {a: req if r.random() < 0.5 else sub}
        elif r.random() < 0.5:
            s["dependentRequired"] = {a: req}
        else:
            s["dependentSchemas"] = {a: sub}

    def array(self, depth):
        r = self.r
        s = {}
        x = r.random()
        first, rest = (("prefixItems", "items") if self.draft == 2020
                       else ("items", "additionalItems"))
        if x < 0.45:
            s["items"] = self.child(depth)
        elif x < 0.8:
            s[first] = [self.child(depth) for _ in range(r.randint(1, 3))]
            y = r.random()
            if y < 0.3:
                s[rest] = False
            elif y < 0.55:
                s[rest] = self.child(depth)
            elif y < 0.65 and self.draft >= 2019:
                s["unevaluatedItems"] = r.choice([False, self.leaf()])
        if r.random() < 0.3:
            s["minItems"] = r.randint(0, 3)
        if r.random() < 0.3:
            s["maxItems"] = s.get("minItems", 0) + r.randint(0, 3)
        if (r.random() < 0.22 and self.draft >= 6
                and "unevaluatedItems" not in s):
            s["contains"] = self.child(depth)
            if self.draft >= 2019:
                if r.random() < 0.4:
                    s["minContains"] = r.randint(0, 2)
                if r.random() < 0.3:
                    s["maxContains"] = max(1, s.get("minContains", 1)
                                           + r.randint(0, 1))
        if r.random() < 0.2:
            s["uniqueItems"] = True
            items = {"type": r.sample(TYPES[:5], r.randint(1, 3))}
            x = r.random()
            if x < 0.3:
                items = {"enum": self.uniq([0, 1, -3, "a", None, True, 2.5,
                                            "b"][:r.randint(2, 8)])}
            elif x < 0.5:
                items = {"type": "integer", "minimum": 0,
                         "maximum": r.randint(1, 4)}
            if first in s and isinstance(s[first], list):
                s[first] = [self.leaf() for _ in s[first]]
                s[rest] = items
                s.pop("unevaluatedItems", None)
            else:
                s["items"] = items
        return s


class Instances:
    """Values that are meant to satisfy a schema, and near misses."""

    def __init__(self, rnd, schema, draft):
        self.r = rnd
        self.root = schema
        self.draft = draft

    def value(self):
        return self.satisfy([self.root], 0)

    def flat(self, schemas, out, fuel):
        """Keywords that hold together, one way through the choices."""
        r = self.r
        for s in schemas:
            fuel[0] -= 1
            if s is False or fuel[0] < 0:
                continue
            if s is True:
                continue
            out.append(s)
            if "$ref" in s:
                self.flat([self.resolve(s["$ref"])], out, fuel)
                if self.draft < 2019:
                    out.remove(s)
                    continue
            self.flat(s.get("allOf", []), out, fuel)
            for k in ("anyOf", "oneOf"):
                if k in s:
                    self.flat([r.choice(s[k])], out, fuel)
            if "if" in s:
                if r.random() < 0.5:
                    self.flat([s["if"], s.get("then", True)], out, fuel)
                else:
                    self.flat([s.get("else", True)], out, fuel)

    def resolve(self, ref):
        s = self.root
        for part in ref[1:].split("/")[1:]:
            s = s[part]
        return s

    def satisfy(self, schemas, depth):
        r = self.r
        if depth > 8:
            return None
        flat = []
        self.flat(schemas, flat, [40])
        for s in r.sample(flat, len(flat)):
            if "const" in s:
                return s["const"]
            if "enum" in s:
                return r.choice(s["enum"])
        types = set(TYPES)
        for s in flat:
            if "type" in s:
                t = s["type"]
                t = set([t] if isinstance(t, str) else t)
                types &= t | ({"integer"} if "number" in t else set())
        if len(types) == len(TYPES):
            if any(k in s for s in flat for k in (
                    "properties", "required", "patternProperties",
                    "additionalProperties", "minProperties")):
                types = {"object"}
            elif any(k in s for s in flat for k in (
                    "items", "prefixItems", "contains", "minItems")):
                types = {"array"}
        if depth > 5:
            types = types - {"array", "object"} or types
        t = r.choice(sorted(types or TYPES))
        if t == "null":
            return None
        if t == "boolean":
            return r.random() < 0.5
        if t in ("integer", "number"):
            return self.number(flat, t)
        if t == "string":
            return self.string(flat)
        return (self.object if t == "object" else self.array)(flat, depth)

    def number(self, flat, t):
        r = self.r
        around = [Decimal(x) for x in ("0", "1", "-3", "12", "2.5", "100")]
        steps = [Decimal(1)]
        for s in flat:
            for k in ("minimum", "maximum", "exclusiveMinimum",
                      "exclusiveMaximum"):
                if k in s and not isinstance(s[k], bool):
                    around += [Decimal(str(s[k]))] * 6
            if "multipleOf" in s:
                steps.append(Decimal(str(s["multipleOf"])))
        m = r.choice(steps)
        v = r.choice(around) + m * r.choice([-2, -1, 0, 0, 0, 1, 1, 2])
        if len(steps) > 1 and r.random() < 0.85:
            v = v // m * m
        if t == "integer":
            v = v.to_integral_value()
        elif r.random() < 0.15:
            v += Decimal(r.choice(["0.5", "0.01", "0.1"]))
        return int(v) if v == v.to_integral_value() else v

    def string(self, flat):
        r = self.r
        pool = list(WORDS)
        lo = max([s.get("minLength", 0) for s in flat] + [0])
        hi = min([s.get("maxLength", 99) for s in flat] + [99])
        for s in flat:
            if "pattern" in s:
                pool += PATTERNS[s["pattern"]] * 12
            if "format" in s:
                _, good, bad = FORMATS[s["format"]]
                pool += good * 20 + bad * 3
        fit = [w for w in pool if lo <= len(w) <= hi]
        w = r.choice(fit if fit and r.random() < 0.9 else pool)
        if len(w) < lo and r.random() < 0.8:
            w += "".join(r.choice("ab1 \u00e9\u4e2d\U0001f600") for _ in
                         range(lo - len(w)))
        return w

    def applies(self, flat, name):
        out = []
        for s in flat:
            hit = False
            if name in s.get("properties", {}):
                out.append(s["properties"][name])
                hit = True
            for p, sub in s.get("patternProperties", {}).items():
                if re.search(p, name):
                    out.append(sub)
                    hit = True
            if not hit and "additionalProperties" in s:
                out.append(s["additionalProperties"])
        return out

    def object(self, flat, depth):
        r = self.r
        names, optional = [], []
        for s in flat:
            names += s.get("required", [])
            optional += list(s.get("properties", {}))
            for p in s.get("patternProperties", {}):
                optional += PATTERNS[p][:2]
            e = s.get("propertyNames", {})
            if isinstance(e, dict):
                optional += e.get("enum", [])
        want = max([s.get("minProperties", 0) for s in flat] + [0])
        share = r.choice([0.1, 0.4, 0.8]) if depth < 3 else 0.1
        names += [n for n in optional if r.random() < share]
        if r.random() < 0.25:
            names.append(r.choice(NAMES + WORDS))
        for s in flat:
            for n in list(names):
                for k in ("dependentRequired", "dependencies"):
                    d = s.get(k, {}).get(n, [])
                    if isinstance(d, list) and r.random() < 0.8:
                        names += d
        for _ in range(20):
            if len(set(names)) >= want:
                break
            names.append(r.choice(optional * 3 + NAMES))
        names = [n for n in dict.fromkeys(names)
                 if False not in self.applies(flat, n) or r.random() < 0.1]
        r.shuffle(names)
        most = min([s.get("maxProperties", 99) for s in flat] + [99])
        if len(names) > most and r.random() < 0.8:
            need = [n for s in flat for n in s.get("required", [])]
            names.sort(key=lambda n: n not in need)
            names = names[:most]
        extra = [s["dependentSchemas"][n] for s in flat
                 for n in names if n in s.get("dependentSchemas", {})]
        extra += [s["dependencies"][n] for s in flat for n in names
                  if isinstance(s.get("dependencies", {}).get(n), dict)]
        flat = flat + extra
        return {n: self.satisfy(self.applies(flat, n), depth + 1)
                for n in names}

    def array(self, flat, depth):
        r = self.r
        lo = max([s.get("minItems", 0) for s in flat] + [0])
        hi = min([s.get("maxItems", 6) for s in flat] + [6])
        n = max(lo, min(hi, lo + r.choice([0, 0, 1, 1, 2, 3])))
        contains = [(s["contains"], s.get("minContains", 1)) for s in flat
                    if "contains" in s]
        n = min(max([n] + [c for _, c in contains]), 7)
        extra = [c for c, k in contains for _ in range(k)]
        out = []
        for i in range(n):
            conj = []
            for s in flat:
                first = s.get("prefixItems", s.get("items"))
                rest = s.get("items") if "prefixItems" in s else None
                if isinstance(first, list):
                    if "prefixItems" not in s:
                        rest = s.get("additionalItems")
                    if i < len(first):
                        conj.append(first[i])
                    elif rest is not None:
                        conj.append(rest)
                elif first is not None:
                    conj.append(first)
            if False in conj and r.random() < 0.9:
                break
            if extra and r.random() < 0.6:
                conj.append(extra.pop())
            for _ in range(6):
                v = self.satisfy(conj, depth + 1)
                if v not in out or r.random() < 0.2:
                    break
            out.append(v)
        return out

    # Near misses.

    def anything(self, depth=0):
        r = self.r
        x = r.random()
        if x < 0.12 and depth < 3:
            return [self.anything(depth + 1) for _ in range(r.randint(0, 3))]
        if x < 0.24 and depth < 3:
            return {n: self.anything(depth + 1) for n in
                    r.sample(NAMES, r.randint(0, 3))}
        return r.choice([None, True, False, 0, 1, -3, 12, 100, Decimal("0.5"),
                         Decimal("2.25"), r.choice(WORDS), r.choice(WORDS)])

    def places(self, v, up=None, key=None):
        yield up, key, v
        items = (v.items() if isinstance(v, dict) else
                 enumerate(v) if isinstance(v, list) else ())
        for k, sub in list(items):
            yield from self.places(sub, v, k)

    def mutate(self, v):
        r = self.r
        v = json.loads(dump(v), parse_float=Decimal)
        up, key, old = r.choice(list(self.places(v)))
        new = self.change(old)
        if up is None:
            return new
        x = r.random()
        if x < 0.15:
            del up[key]
        elif x < 0.25 and isinstance(up, list):
            up.insert(key, r.choice(up))
        else:
            up[key] = new
        return v

    def change(self, v):
        r = self.r
        x = r.random()
        if isinstance(v, bool) or v is None or x < 0.15:
            return self.anything()
        if isinstance(v, (int, Decimal)):
            d = r.choice([1, -1, 2, -2, Decimal("0.5"), Decimal("-0.1"), 10])
            v = Decimal(v) + d
            return int(v) if v == v.to_integral_value() else v
        if isinstance(v, str):
            return r.choice([v[1:], v[:-1], v + r.choice("ab1\u00e9"),
                             v.upper(), r.choice(WORDS)])
        if isinstance(v, list):
            return r.choice([v[1:], v[::-1], v + [self.anything(1)],
                             v + v[:1]])
        out = dict(v)
        out[r.choice(NAMES + WORDS)] = self.anything(1)
        return out


def dump(v):
    """Compact JSON; Decimals as they are."""
    if isinstance(v, Decimal):
        return format(v, "f")
    if isinstance(v, dict):
        return "{" + ",".join(json.dumps(k) + ":" + dump(x)
                              for k, x in v.items()) + "}"
    if isinstance(v, list):
        return "[" + ",".join(dump(x) for x in v) + "]"
    return json.dumps(v, ensure_ascii=False)


class Spelling:
    """JSON in some of its spellings."""

    def __init__(self, rnd):
        self.r = rnd
        self.fancy = rnd.choice([0, 0, 0.04, 0.3])
        self.exponent = False

    def text(self, v):
        r = self.r
        if isinstance(v, dict):
            return "{" + ",".join(self.string(k) + ":" + self.text(x)
                                  for k, x in v.items()) + "}"
        if isinstance(v, list):
            return "[" + ",".join(self.text(x) for x in v) + "]"
        if isinstance(v, str):
            return self.string(v)
        if v is None or isinstance(v, bool):
            return json.dumps(v)
        v = Decimal(str(v))
        s = format(v, "f")
        if r.random() < self.fancy:
            kind = r.choice(["zeros", "exponent", "minus"])
            if kind == "minus" and v == 0:
                return "-0"
            if kind == "exponent":
                self.exponent = True
                k = r.choice([-2, -1, 0, 1, 2])
                return (format(v.scaleb(-k), "f") + r.choice("eE")
                        + r.choice(["", "+"] if k >= 0 else [""]) + str(k))
            return s + ("0" if "." in s else ".0") * r.choice([1, 1])
        return s

    def string(self, s):
        r = self.r
        out = ['"']
        short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t",
                 "\r": "\\r", "\b": "\\b", "\f": "\\f"}
        for c in s:
            must = c in short or ord(c) < 32
            if r.random() < self.fancy:
                if c == "/":
                    out.append("\\/")
                    continue
                b = c.encode("utf-16-be")
                u = "".join("\\u%02x%02x" % (b[i], b[i + 1])
                            for i in range(0, len(b), 2))
                out.append(u if r.random() < 0.5 else
                           u.upper().replace("\\U", "\\u"))
            elif must:
                out.append(short.get(c, "\\u%04x" % ord(c)))
            else:
                out.append(c)
        return "".join(out) + '"'


def case(rnd):
    draft = rnd.choice([4, 6, 7, 7, 2019, 2020, 2020, 2020, 2020])
    schema = Schemas(rnd, draft).make()
    if len(json.dumps(schema)) < rnd.choice([80, 120, 200, 300]):
        return None
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    if len(json.dumps(schema)) > 900:
        return None
    DRAFTS[draft][0].check_schema(schema)
    judge = validator(draft, exact)
    make = Instances(rnd, exact, draft)
    valid, invalid, good = {}, {}, []
    for i in range(50):
        if good and rnd.random() < 0.45:
            v = make.mutate(rnd.choice(good))
        else:
            v = make.value() if rnd.random() < 0.97 else make.anything()
        how = Spelling(rnd)
        text = how.text(v)
        if len(text) > 150:
            continue
        v = json.loads(text, parse_float=Decimal)
        if judge.is_valid(v):
            good.append(v)
            valid[text] = 2 if how.exponent else 1
        else:
            invalid[text] = 0
    if not valid and rnd.random() < 0.85:
        return None
    some = rnd.sample(list(valid.items()), min(4, len(valid)))
    some += rnd.sample(list(invalid.items()), min(4, len(invalid)))
    return {"schema": schema, "instances": [list(p) for p in some]}


def ecma(s):
    """Patterns of the schema for Python: $ and . as ECMA-262 has them."""
    def pattern(p):
        p = re.sub(r"(?<!\\)\$", lambda _: r"\Z", p)
        return re.sub(r"(?<!\\)\.", lambda _: r"[^\n\r\u2028\u2029]", p)
    if isinstance(s, list):
        return [ecma(x) for x in s]
    if not isinstance(s, dict):
        return s
    out = {}
    for k, v in s.items():
        if k == "pattern" and isinstance(v, str):
            out[k] = pattern(v)
        elif k == "patternProperties":
            out[k] = {pattern(p): ecma(x) for p, x in v.items()}
        else:
            out[k] = ecma(v)
    return out


def unique(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise ValueError("a name twice")
    return dict(pairs)


def judge(path):
    drafts = {uri: d for d, (_, uri) in DRAFTS.items()}
    with open(path, encoding="utf-8") as f:
        schemas = [json.loads(line, parse_float=Decimal)["schema"]
                   for line in f]
    n = wrong = 0
    done = False
    for line in sys.stdin.buffer:
        done |= line.startswith(b"ok 1 ")
        if not line.startswith(b"W "):
            if line.startswith(b"#"):
                sys.stdout.buffer.write(line)
            continue
        _, number, size, text = line.split(b" ", 3)
        while len(text) <= int(size):
            text += sys.stdin.buffer.readline() or b"\n" * int(size)
        number, text = int(number), text[:-1].decode()
        s = schemas[number - 1]
        v = json.loads(text, parse_float=Decimal, object_pairs_hook=unique)
        n += 1
        try:
            good = validator(drafts[s.get("$schema", DRAFTS[2020][1])],
                             ecma(s)).is_valid(v)
        except ArithmeticError:     # a number too long for decimal
            continue
        if not good and '"date"' in json.dumps(s, default=str) \
                and "0000-" in text:
            continue                # RFC 3339 has this year, Python has not
        if not good:
            wrong += 1
            print(f"# line {number}: {text}")
    print(f"{'' if done else 'not '}ok 1 - every walk can go on")
    print(f"{'not ' if wrong or n == 0 else ''}ok 2 - {n} texts, {wrong} "
          "invalid")
    print("1..2")
    sys.exit(wrong > 0 or n == 0 or not done)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--count", type=int, default=100000)
    args.add_argument("--max-bytes", type=int, default=290000)
    args.add_argument("file", nargs="?", default=os.path.join(
        HERE, "generate_goldens.jsonl"))
    args.add_argument("--judge", action="store_true")
    args = args.parse_args()
    if args.judge:
        judge(args.file)
    rnd = random.Random(args.seed)
    size = 0
    n = 0
    with open(args.file, "w", encoding="utf-8") as out:
        while n < args.count:
            c = case(rnd)
            if c is None:
                continue
            line = json.dumps(c, ensure_ascii=False,
                              separators=(",", ":")) + "\n"
            size += len(line.encode())
            if size > args.max_bytes:
                break
            out.write(line)
            n += 1
    print(f"{args.file}: {n} schemas", file=sys.stderr)


if __name__ == "__main__":
    main()
