/*
 * Tools, formats of content, histories with calls: what is taken, in which
 * form it goes on, and which parameter a fault names.
 */

#include "engine/api/api.h"
#include "t/lib/tap.h"

#define U   "{\"role\":\"user\",\"content\":\"x\"}"
#define M   "{\"messages\":[" U "]"
#define P   "{\"prompt\":\"x\""
#define F   "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"
#define G   "{\"type\":\"custom\",\"custom\":{\"name\":\"g\"}}"
#define FN  M ",\"tools\":[{\"type\":\"function\",\"function\":"
#define CU  M ",\"tools\":[{\"type\":\"custom\",\"custom\":"
#define TC  M ",\"tools\":[" F "," G "],\"tool_choice\":"
#define RF  M ",\"response_format\":"
#define C1  "{\"id\":\"c1\",\"type\":\"function\",\"function\":"
#define H   "{\"messages\":[" U ",{\"role\":\"assistant\","
#define A   "\"name\":\"f\",\"arguments\":"
#define A64 "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd"

enum { C = GEN_CHAT, T = GEN_COMPLETION };

typedef struct {
    int         kind;
    const char *body;
    const char *param;
    const char *code;
    const char *message; /* part of it, or NULL */
} refused_t;

static const refused_t refused[] = {
    /* tools */
    {C, M ",\"tools\":{}}", "tools", "invalid_type", NULL},
    {C, M ",\"tools\":[],\"tool_choice\":\"required\"}", "tool_choice",
     "invalid_value", NULL},
    {C, M ",\"tools\":[5]}", "tools[0]", "invalid_type", NULL},
    {C, M ",\"tools\":[{}]}", "tools[0].type", "missing_required_parameter",
     NULL},
    {C, M ",\"tools\":[{\"type\":\"x\"}]}", "tools[0].type", "invalid_value",
     "function, custom"},
    {C, M ",\"tools\":[" F ",{\"type\":\"function\"}]}", "tools[1].function",
     "missing_required_parameter", NULL},
    {C, FN "[]}]}", "tools[0].function", "invalid_type", NULL},
    {C, FN "{}}]}", "tools[0].function.name", "missing_required_parameter",
     NULL},
    {C, FN "{\"name\":5}}]}", "tools[0].function.name", "invalid_type", NULL},
    {C, FN "{\"name\":\"\"}}]}", "tools[0].function.name", "invalid_value",
     NULL},
    {C, FN "{\"name\":\"a b\"}}]}", "tools[0].function.name", "invalid_value",
     "^[a-zA-Z0-9_-]+$"},
    {C, FN "{\"name\":\"a\\u0000\"}}]}", "tools[0].function.name",
     "invalid_value", NULL},
    {C, FN "{\"name\":\"\xc3\xa9\"}}]}", "tools[0].function.name",
     "invalid_value", NULL},
    {C, FN "{\"name\":\"" A64 "a\"}}]}", "tools[0].function.name",
     "string_above_max_length", NULL},
    {C, M ",\"tools\":[" F "," F "]}", "tools[1].function.name",
     "invalid_value", "another tool"},
    {C,
     M ",\"tools\":[" F ",{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}]}",
     "tools[1].custom.name", "invalid_value", "another tool"},
    {C, FN "{\"name\":\"f\",\"description\":1}}]}",
     "tools[0].function.description", "invalid_type", NULL},
    {C, FN "{\"name\":\"f\",\"strict\":1}}]}", "tools[0].function.strict",
     "invalid_type", NULL},
    {C, FN "{\"name\":\"f\",\"parameters\":[]}}]}",
     "tools[0].function.parameters", "invalid_type", NULL},
    {C, FN "{\"name\":\"f\",\"parameters\":true}}]}",
     "tools[0].function.parameters", "invalid_type", NULL},
    {C, FN "{\"name\":\"f\",\"parameters\":{\"type\":\"string\"}}}]}",
     "tools[0].function.parameters", "invalid_function_parameters",
     "got 'type: \"string\"'"},
    {C, FN "{\"name\":\"f\",\"parameters\":{\"type\":[\"null\"]}}}]}",
     "tools[0].function.parameters", "invalid_function_parameters", NULL},
    {C, CU "{\"name\":\"g\",\"format\":{}}}]}", "tools[0].custom.format.type",
     "missing_required_parameter", NULL},
    {C, CU "{\"name\":\"g\",\"format\":{\"type\":\"json\"}}}]}",
     "tools[0].custom.format.type", "invalid_value", NULL},
    {C, CU "{\"name\":\"g\",\"format\":{\"type\":\"grammar\"}}}]}",
     "tools[0].custom.format.grammar", "missing_required_parameter", NULL},
    {C,
     CU "{\"name\":\"g\",\"format\":{\"type\":\"grammar\",\"grammar\":"
        "{\"syntax\":\"gbnf\"}}}}]}",
     "tools[0].custom.format.grammar.syntax", "invalid_value", "lark, regex"},
    {C,
     CU "{\"name\":\"g\",\"format\":{\"type\":\"grammar\",\"grammar\":"
        "{\"syntax\":\"lark\"}}}}]}",
     "tools[0].custom.format.grammar.definition", "missing_required_parameter",
     NULL},

    /* tool_choice */
    {C, M ",\"tool_choice\":\"required\"}", "tool_choice", "invalid_value",
     "only allowed when 'tools'"},
    {C, M ",\"tool_choice\":{}}", "tool_choice", "invalid_value", NULL},
    {C, TC "5}", "tool_choice", "invalid_type", NULL},
    {C, TC "\"f\"}", "tool_choice", "invalid_value", NULL},
    {C, TC "{}}", "tool_choice.type", "missing_required_parameter", NULL},
    {C, TC "{\"type\":\"f\"}}", "tool_choice.type", "invalid_value", NULL},
    {C, TC "{\"type\":\"function\"}}", "tool_choice.function",
     "missing_required_parameter", NULL},
    {C, TC "{\"type\":\"function\",\"function\":{\"name\":\"x\"}}}",
     "tool_choice.function.name", "invalid_value", "no function named 'x'"},
    {C, TC "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}}",
     "tool_choice.function.name", "invalid_value", NULL},
    {C, TC "{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}}",
     "tool_choice.custom.name", "invalid_value", "no custom tool"},
    {C, TC "{\"type\":\"allowed_tools\"}}", "tool_choice.allowed_tools",
     "missing_required_parameter", NULL},
    {C, TC "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"tools\":[]}}}",
     "tool_choice.allowed_tools.mode", "missing_required_parameter", NULL},
    {C,
     TC "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\","
        "\"tools\":[]}}}",
     "tool_choice.allowed_tools.tools", "empty_array", NULL},
    {C,
     TC "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\","
        "\"tools\":[" F ",{\"type\":\"function\",\"function\":{\"name\":"
        "\"z\"}}]}}}",
     "tool_choice.allowed_tools.tools[1].function.name", "invalid_value", NULL},
    {C, TC "\"auto\",\"function_call\":\"none\"}", "function_call",
     "invalid_value", "together"},
    {C, M ",\"parallel_tool_calls\":1}", "parallel_tool_calls", "invalid_type",
     NULL},

    /* legacy */
    {C, M ",\"functions\":[]}", "functions", "empty_array", NULL},
    {C, M ",\"functions\":[{}]}", "functions[0].name",
     "missing_required_parameter", NULL},
    {C, M ",\"tools\":[" F "],\"functions\":[{\"name\":\"h\"}]}", "functions",
     "invalid_value", "together"},
    {C, M ",\"functions\":[{\"name\":\"h\"}],\"function_call\":\"required\"}",
     "function_call", "invalid_value", NULL},
    {C,
     M ",\"functions\":[{\"name\":\"h\"}],\"function_call\":{\"name\":\"i\"}}",
     "function_call.name", "invalid_value", NULL},
    {C, M ",\"function_call\":{\"name\":\"i\"}}", "function_call",
     "invalid_value", NULL},
    {T, P ",\"tools\":[" F "]}", "tools", "unsupported_parameter", NULL},
    {T, P ",\"tool_choice\":\"auto\"}", "tool_choice", "unsupported_parameter",
     NULL},

    /* response_format */
    {C, RF "5}", "response_format", "invalid_type", NULL},
    {C, RF "{}}", "response_format.type", "missing_required_parameter", NULL},
    {C, RF "{\"type\":\"xml\"}}", "response_format.type", "invalid_value",
     NULL},
    {C, RF "{\"type\":\"json_schema\"}}", "response_format.json_schema",
     "missing_required_parameter", NULL},
    {C, RF "{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{}}}}",
     "response_format.json_schema.name", "missing_required_parameter", NULL},
    {C, RF "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a b\"}}}",
     "response_format.json_schema.name", "invalid_value", NULL},
    {C, RF "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\"}}}",
     "response_format.json_schema.schema", "missing_required_parameter", NULL},
    {C,
     RF "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\","
        "\"schema\":[]}}}",
     "response_format.json_schema.schema", "invalid_type", NULL},
    {C,
     RF "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\","
        "\"schema\":{},\"strict\":\"yes\"}}}",
     "response_format.json_schema.strict", "invalid_type", NULL},
    {C,
     RF "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\","
        "\"schema\":{},\"order\":\"random\"}}}",
     "response_format.json_schema.order", "invalid_value", "declared, free"},
    {C, RF "{\"type\":\"json_object\",\"whitespace\":\"none\"}}",
     "response_format.whitespace", "invalid_value", NULL},
    {C, RF "{\"type\":\"grammar\"}}", "response_format.grammar",
     "missing_required_parameter", NULL},
    {C, RF "{\"type\":\"json_object\"},\"grammar\":\"root ::= \\\"a\\\"\"}",
     "grammar", "invalid_value", "'response_format' cannot be used together"},
    {C, M ",\"guided_json\":5}", "guided_json", "invalid_type", NULL},
    {C, M ",\"guided_json\":\"{\"}", "guided_json", "invalid_value",
     "not JSON"},
    {C, M ",\"guided_regex\":{}}", "guided_regex", "invalid_type", NULL},
    {C, M ",\"guided_choice\":[]}", "guided_choice", "empty_array", NULL},
    {C, M ",\"guided_choice\":[\"a\",5]}", "guided_choice[1]", "invalid_type",
     NULL},
    {C, M ",\"guided_regex\":\"a\",\"guided_choice\":[\"a\"]}", "guided_choice",
     "invalid_value", "together"},
    {C, M ",\"structured_outputs\":[]}", "structured_outputs", "invalid_type",
     NULL},
    {C, M ",\"structured_outputs\":{\"regex\":\"a\",\"json\":{}}}",
     "structured_outputs.regex", "invalid_value", "together"},
    {C, M ",\"structured_outputs\":{\"whitespace_pattern\":\"a\"}}",
     "structured_outputs.whitespace_pattern", "unsupported_parameter", NULL},
    {T, P ",\"guided_regex\":\"a\",\"json_schema\":{\"type\":\"object\"}}",
     "guided_regex", "invalid_value", "together"},

    /* reasoning */
    {C, M ",\"reasoning_effort\":\"hard\"}", "reasoning_effort",
     "invalid_value", NULL},
    {C, M ",\"reasoning_effort\":5}", "reasoning_effort", "invalid_type", NULL},
    {C, M ",\"thinking_budget\":-2}", "thinking_budget", "invalid_value", NULL},
    {C, M ",\"thinking_token_budget\":1.5}", "thinking_token_budget",
     "invalid_type", NULL},
    {C, M ",\"reasoning_format\":\"none\"}", "reasoning_format",
     "unsupported_value", NULL},

    /* histories */
    {C, H "\"tool_calls\":{}}]}", "messages[1].tool_calls", "invalid_type",
     NULL},
    {C, H "\"tool_calls\":[5]}]}", "messages[1].tool_calls[0]", "invalid_type",
     NULL},
    {C, H "\"tool_calls\":[{\"type\":\"function\"}]}]}",
     "messages[1].tool_calls[0].id", "missing_required_parameter", NULL},
    {C, H "\"tool_calls\":[{\"id\":\"c\"}]}]}",
     "messages[1].tool_calls[0].type", "missing_required_parameter", NULL},
    {C, H "\"tool_calls\":[" C1 "{}}]}]}",
     "messages[1].tool_calls[0].function.name", "missing_required_parameter",
     NULL},
    {C, H "\"tool_calls\":[" C1 "{\"name\":\"f\"}}]}]}",
     "messages[1].tool_calls[0].function.arguments",
     "missing_required_parameter", NULL},
    {C, H "\"tool_calls\":[" C1 "{" A "{}}}]}]}",
     "messages[1].tool_calls[0].function.arguments", "invalid_type", NULL},
    {C, H "\"tool_calls\":[" C1 "{" A "\"{\\\"a\\\": \"}}]}]}",
     "messages[1].tool_calls[0].function.arguments", "invalid_value",
     "messages[1].tool_calls[0].function.arguments: not JSON"},
    {C, H "\"tool_calls\":[" C1 "{" A "\"{\\\"a\\\": tru}\"}}]}]}",
     "messages[1].tool_calls[0].function.arguments", "invalid_value",
     "at byte 6."},
    {C, H "\"tool_calls\":[" C1 "{" A "\"[1]\"}}]}]}",
     "messages[1].tool_calls[0].function.arguments", "invalid_value",
     "not an object"},
    {C,
     H "\"tool_calls\":[{\"id\":\"c\",\"type\":\"custom\",\"custom\":"
       "{\"name\":\"g\"}}]}]}",
     "messages[1].tool_calls[0].custom.input", "missing_required_parameter",
     NULL},
    {C, H "\"function_call\":{\"name\":\"f\",\"arguments\":\"{\"}}]}",
     "messages[1].function_call.arguments", "invalid_value", "not JSON"},
    {C, "{\"messages\":[" U ",{\"role\":\"tool\",\"content\":\"x\"}]}",
     "messages[1].tool_call_id", "missing_required_parameter", NULL},
    {C,
     "{\"messages\":[" U ",{\"role\":\"tool\",\"content\":\"x\","
     "\"tool_call_id\":\"c1\"}]}",
     "messages[1].tool_call_id", "invalid_value", "'c1' is not the id"},
    {C,
     H "\"tool_calls\":[" C1 "{" A "\"{}\"}}]},{\"role\":\"tool\","
       "\"tool_call_id\":\"c1\"}]}",
     "messages[2].content", "missing_required_parameter", NULL},
    {C,
     H "\"tool_calls\":[" C1 "{" A "\"{}\"}}]},{\"role\":\"tool\","
       "\"tool_call_id\":\"c1\",\"content\":[{\"type\":\"image_url\"}]}]}",
     "messages[2].content[0].type", "unsupported_value", NULL},
    {C, "{\"messages\":[" U ",{\"role\":\"function\",\"content\":\"x\"}]}",
     "messages[1].name", "missing_required_parameter", NULL},
    {C,
     "{\"messages\":[" U ",{\"role\":\"function\",\"content\":\"x\","
     "\"name\":\"f\"}]}",
     "messages[1].name", "invalid_value", NULL},
};


static void
test_refused(void)
{
    gen_request_t req;
    gen_error_t   e;
    size_t        i, good = 0;
    int           rc;

    for (i = 0; i < llm_countof(refused); i++) {
        const refused_t *t = &refused[i];

        e = (gen_error_t){0};
        rc = api_openai_parse(t->kind, t->body, strlen(t->body), &req, &e);

        if (rc >= 0 || e.status != 400 || e.code == NULL
            || strcmp(e.code, t->code) || e.param == NULL
            || strcmp(t->param, e.param)
            || (t->message && strstr(e.message, t->message) == NULL)) {
            ok(0, "%s", t->body);
            diag("%d, %d, %s, %s: %s", rc, e.status, e.param ? e.param : "null",
                 e.code ? e.code : "null", e.message);
            if (rc >= 0) {
                api_request_free(&req);
            }
            continue;
        }

        good++;
    }

    is_int(good, llm_countof(refused), "what is refused names it");
}


static gen_request_t
parse(int kind, const char *body)
{
    gen_request_t req;
    gen_error_t   e = {0};

    if (api_openai_parse(kind, body, strlen(body), &req, &e) < 0) {
        ok(0, "%s: %s", body, e.message);
        memset(&req, 0, sizeof(req));
    }

    return req;
}


/* What a request says, in few words. */

static void
told(const gen_request_t *r, buf_t *b)
{
    static const char *const calls[] = {"none", "auto", "required"};
    static const char *const kinds[] = {"?", "f", "c"};
    static const char *const syntaxes[] = {"", "lark:", "regex:"};
    uint32_t                 i;

    buf_reset(b);
    buf_fmt(b, "%s%s%s", calls[r->calls], r->parallel ? "" : " single",
            r->functions ? " legacy" : "");

    for (i = 0; i < r->n_offers; i++) {
        const gen_tool_t *t = &r->offers[i];

        buf_fmt(b, " %s%s:%.*s@%.*s", t->offered ? "+" : "-", kinds[t->kind],
                (int) t->name.len, t->name.s, (int) t->at.len, t->at.s);
        if (t->schema.s) {
            buf_fmt(b, "|%.*s", (int) t->schema.len, t->schema.s);
        }
        if (t->syntax) {
            buf_fmt(b, "|%s%.*s", syntaxes[t->syntax], (int) t->definition.len,
                    t->definition.s);
        }
        buf_str(b, t->strict ? "|strict" : "");
    }

    buf_add(b, "", 1);
}


typedef struct {
    const char *body;
    const char *told;
} tools_t;

static const tools_t tools[] = {
    {M "}", "none"},
    {M ",\"tools\":[]}", "none"},
    {M ",\"tools\":null,\"tool_choice\":null}", "none"},
    {M ",\"tool_choice\":\"auto\"}", "none"},
    {M ",\"tools\":[" F "]}", "auto +f:f@/tools/0"},
    {M ",\"tools\":[" F "," G "],\"parallel_tool_calls\":false}",
     "auto single +f:f@/tools/0 +c:g@/tools/1"},
    {FN "{\"name\":\"f\",\"strict\":true,\"parameters\":{\"type\":\"object\"}}"
        "}]}",
     "auto +f:f@/tools/0|/tools/0/function/parameters|strict"},
    {FN "{\"name\":\"" A64 "\",\"strict\":null,\"description\":null,"
        "\"parameters\":{\"type\":[\"object\",\"null\"]}}}]}",
     "auto +f:" A64 "@/tools/0|/tools/0/function/parameters"},
    {CU "{\"name\":\"g\",\"format\":{\"type\":\"text\"}}}]}",
     "auto +c:g@/tools/0"},
    {CU "{\"name\":\"g\",\"format\":{\"type\":\"grammar\",\"grammar\":"
        "{\"syntax\":\"lark\",\"definition\":\"start: X\"}}}}]}",
     "auto +c:g@/tools/0|lark:start: X"},
    {CU "{\"name\":\"g\",\"format\":{\"type\":\"grammar\",\"grammar\":"
        "{\"syntax\":\"regex\",\"definition\":\"a+\"}}}}]}",
     "auto +c:g@/tools/0|regex:a+"},
    {TC "\"none\"}", "none -f:f@/tools/0 -c:g@/tools/1"},
    {TC "\"auto\"}", "auto +f:f@/tools/0 +c:g@/tools/1"},
    {TC "\"required\"}", "required +f:f@/tools/0 +c:g@/tools/1"},
    {TC "\"any\"}", "required +f:f@/tools/0 +c:g@/tools/1"},
    {TC "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
     "required single +f:f@/tools/0 -c:g@/tools/1"},
    {TC "{\"type\":\"custom\",\"custom\":{\"name\":\"g\"}}}",
     "required single -f:f@/tools/0 +c:g@/tools/1"},
    {TC "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\","
        "\"tools\":[" G "]}}}",
     "auto -f:f@/tools/0 +c:g@/tools/1"},
    {TC "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\","
        "\"tools\":[" G "," F "," G "]}}}",
     "required +f:f@/tools/0 +c:g@/tools/1"},
    {M ",\"functions\":[{\"name\":\"h\",\"parameters\":{}}],"
       "\"parallel_tool_calls\":true}",
     "auto single legacy +f:h@/functions/0|/functions/0/parameters"},
    {M ",\"functions\":[{\"name\":\"h\"}],\"function_call\":\"none\"}",
     "none single legacy -f:h@/functions/0"},
    {M ",\"functions\":[{\"name\":\"h\"},{\"name\":\"i\"}],\"function_call\":"
       "{\"name\":\"i\"}}",
     "required single legacy -f:h@/functions/0 +f:i@/functions/1"},
};


static void
test_tools(void)
{
    gen_request_t r;
    buf_t         b = {0};
    size_t        i;

    for (i = 0; i < llm_countof(tools); i++) {
        r = parse(C, tools[i].body);
        told(&r, &b);
        is_str(b.data, tools[i].told, "%.60s", tools[i].body);

        /* What an answer needs is there without the body. */
        is_int(api_request_settle(&r), 0, "... settled");
        ok(r.tools == NULL && r.body == NULL
               && (r.n_offers == 0 || r.offers[0].name.s),
           "... with names");
        api_request_free(&r);
    }

    buf_free(&b);
}


static void
shows(const char *name, json_t *v, const char *want)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

    is_str(text ? text : "(null)", want, "%s", name);
    free(text);
}


static void
test_shown(void)
{
    gen_request_t r;

    r = parse(C, M
              ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
              "\"e\",\"strict\":true,\"parameters\":{\"properties\":{\"b\":{},"
              "\"a\":{\"maximum\":18446744073709551616}}}},\"x\":1}," F "," G
              "]}");
    shows("templates see the OpenAI form, whole", r.tools,
          "[{\"type\":\"function\",\"function\":{\"name\":\"e\","
          "\"strict\":true,\"parameters\":{\"properties\":{\"b\":{},\"a\":"
          "{\"maximum\":1.8446744073709601e19}},\"type\":\"object\"},"
          "\"description\":\"\"}},"
          "{\"type\":\"function\",\"function\":{\"name\":\"f\","
          "\"description\":\"\",\"parameters\":{\"type\":\"object\","
          "\"properties\":{}}}},"
          "{\"type\":\"function\",\"function\":{\"name\":\"g\","
          "\"description\":\"\",\"parameters\":{\"type\":\"object\","
          "\"properties\":{\"input\":{\"type\":\"string\"}},\"required\":"
          "[\"input\"]}}}]");
    api_request_free(&r);

    r = parse(C, M ",\"functions\":[{\"name\":\"h\",\"description\":\"d\"}]}");
    shows("... of legacy functions too", r.tools,
          "[{\"type\":\"function\",\"function\":{\"name\":\"h\","
          "\"description\":\"d\",\"parameters\":{\"type\":\"object\","
          "\"properties\":{}}}}]");
    api_request_free(&r);

    r = parse(C, TC "\"none\"}");
    ok(r.tools == NULL, "... and nothing where nothing may be called");
    api_request_free(&r);
}


static void
test_history(void)
{
    gen_request_t r;

    r = parse(C,
              "{\"messages\":[" U ",{\"role\":\"assistant\",\"content\":null,"
              "\"reasoning_content\":\"hm\",\"tool_calls\":[" C1 "{" A
              "\"{\\\"b\\\":1,\\\"a\\\":[]}\"}},"
              "{\"id\":\"c2\",\"type\":\"custom\",\"custom\":{\"name\":\"g\","
              "\"input\":\"a\\\"b\"}},{\"id\":\"c3\",\"type\":\"function\","
              "\"function\":{\"name\":\"n\",\"arguments\":\"\"}}]},"
              "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":[{"
              "\"type\":\"text\",\"text\":\"r\"},{\"type\":\"text\",\"text\":"
              "\"s\"}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\","
              "\"content\":\"\"},{\"role\":\"tool\",\"tool_call_id\":\"c1\","
              "\"content\":\"again\"}]}");
    shows("calls and results, in any order", r.messages,
          "[{\"role\":\"user\",\"content\":\"x\"},"
          "{\"role\":\"assistant\",\"content\":\"\","
          "\"reasoning_content\":\"hm\",\"tool_calls\":["
          "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
          "\"arguments\":{\"b\":1,\"a\":[]}}},"
          "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\","
          "\"arguments\":{\"input\":\"a\\\"b\"}}},"
          "{\"id\":\"c3\",\"type\":\"function\",\"function\":{\"name\":\"n\","
          "\"arguments\":{}}}]},"
          "{\"role\":\"tool\",\"content\":\"r\\ns\",\"tool_call_id\":\"c2\","
          "\"name\":\"g\"},"
          "{\"role\":\"tool\",\"content\":\"\",\"tool_call_id\":\"c1\","
          "\"name\":\"f\"},"
          "{\"role\":\"tool\",\"content\":\"again\",\"tool_call_id\":\"c1\","
          "\"name\":\"f\"}]");
    api_request_free(&r);

    r = parse(C, H "\"content\":null,\"function_call\":{" A
                   "\"{\\\"n\\\":99999999999999999999}\"}},"
                   "{\"role\":\"function\",\"name\":\"f\",\"content\":null}]}");
    shows("the legacy form", r.messages,
          "[{\"role\":\"user\",\"content\":\"x\"},"
          "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":["
          "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":"
          "\"f\",\"arguments\":{\"n\":1e20}}}]},"
          "{\"role\":\"tool\",\"content\":\"\",\"name\":\"f\","
          "\"tool_call_id\":\"call_1\"}]");
    api_request_free(&r);
}


typedef struct {
    int         kind;
    const char *body;
    int         format;
    const char *param;
    const char *text; /* the place, the source, or all choices */
    int         order_free;
    int         space;
} format_t;

static const format_t formats[] = {
    {C, RF "{\"type\":\"text\"},\"grammar\":\"\"}", GEN_FORMAT_TEXT, NULL, "",
     0, 0},
    {C, RF "{\"type\":\"json_object\"}}", GEN_FORMAT_JSON_OBJECT,
     "response_format", "", 0, 0},
    {C, RF "{\"type\":\"json_object\",\"schema\":{},\"whitespace\":\"any\"}}",
     GEN_FORMAT_JSON_SCHEMA, "response_format.schema",
     "@/response_format/schema", 0, 2},
    {C,
     RF "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a-1_B\","
        "\"strict\":true,\"description\":\"d\",\"schema\":{\"a\":1},"
        "\"order\":\"free\",\"whitespace\":\"single\"}}}",
     GEN_FORMAT_JSON_SCHEMA, "response_format.json_schema.schema",
     "@/response_format/json_schema/schema", 1, 1},
    {C, RF "{\"type\":\"json_schema\",\"schema\":true}}",
     GEN_FORMAT_JSON_SCHEMA, "response_format.schema",
     "@/response_format/schema", 0, 0},
    {C, RF "{\"type\":\"grammar\",\"grammar\":\"root ::= x\"}}",
     GEN_FORMAT_GBNF, "response_format.grammar", "root ::= x", 0, 0},
    {T, P ",\"response_format\":{\"type\":\"json_object\"}}",
     GEN_FORMAT_JSON_OBJECT, "response_format", "", 0, 0},
    {T, P ",\"grammar\":\"root ::= x\"}", GEN_FORMAT_GBNF, "grammar",
     "root ::= x", 0, 0},
    {T, P ",\"json_schema\":{\"type\":\"object\"}}", GEN_FORMAT_JSON_SCHEMA,
     "json_schema", "@/json_schema", 0, 0},
    {C, M ",\"json_schema\":{}}", GEN_FORMAT_TEXT, NULL, "", 0, 0},
    {C, M ",\"guided_json\":{}}", GEN_FORMAT_JSON_SCHEMA, "guided_json",
     "@/guided_json", 0, 0},
    {C, M ",\"guided_json\":\"{}\"}", GEN_FORMAT_JSON_SCHEMA, "guided_json",
     "{}", 0, 0},
    {C, M ",\"guided_regex\":\"a|b\"}", GEN_FORMAT_REGEX, "guided_regex", "a|b",
     0, 0},
    {C, M ",\"guided_grammar\":\"root ::= x\"}", GEN_FORMAT_GBNF,
     "guided_grammar", "root ::= x", 0, 0},
    {C, M ",\"guided_grammar\":\"start: x\"}", GEN_FORMAT_LARK,
     "guided_grammar", "start: x", 0, 0},
    {T, P ",\"guided_choice\":[\"a\",\"\"]}", GEN_FORMAT_CHOICE,
     "guided_choice", "a,,", 0, 0},
    {C, M ",\"structured_outputs\":{\"json\":{\"a\":1},\"order\":\"free\"}}",
     GEN_FORMAT_JSON_SCHEMA, "structured_outputs.json",
     "@/structured_outputs/json", 1, 0},
    {C, M ",\"structured_outputs\":{\"regex\":\"a\",\"json\":null}}",
     GEN_FORMAT_REGEX, "structured_outputs.regex", "a", 0, 0},
    {C, M ",\"structured_outputs\":{\"choice\":[\"a\",\"b\"]}}",
     GEN_FORMAT_CHOICE, "structured_outputs.choice", "a,b,", 0, 0},
    {C, M ",\"structured_outputs\":{\"grammar\":\"start: x\"}}",
     GEN_FORMAT_LARK, "structured_outputs.grammar", "start: x", 0, 0},
    {C,
     M ",\"structured_outputs\":{\"json_object\":true,"
       "\"disable_any_whitespace\":false}}",
     GEN_FORMAT_JSON_OBJECT, "structured_outputs.json_object", "", 0, 0},
};


static void
test_formats(void)
{
    const format_t *f;
    gen_request_t   r;
    buf_t           b = {0};
    size_t          i;
    uint32_t        k;

    for (i = 0; i < llm_countof(formats); i++) {
        f = &formats[i];
        r = parse(f->kind, f->body);

        buf_reset(&b);
        if (r.format_at.s) {
            buf_fmt(&b, "@%.*s", (int) r.format_at.len, r.format_at.s);
        }
        buf_add(&b, r.format_text.s, r.format_text.len);
        for (k = 0; k < r.n_format_list; k++) {
            buf_add(&b, r.format_list[k].s, r.format_list[k].len);
            buf_str(&b, ",");
        }
        buf_add(&b, "", 1);

        is_int(r.format, f->format, "%s", f->body);
        is_str(b.data, f->text, "... what it is");
        ok((f->param == NULL) == (r.format_param == NULL)
               && (f->param == NULL || strcmp(f->param, r.format_param) == 0)
               && r.order_free == f->order_free && r.space == f->space,
           "... whose it is, order %d, space %d", r.order_free, r.space);
        api_request_free(&r);
    }

    buf_free(&b);
}


static void
test_reasoning(void)
{
    static const char *const words[] = {"none", "minimal", "low", "medium",
                                        "high", "xhigh",   "max"};
    static const char *const budgets[] = {"thinking_budget",
                                          "thinking_token_budget",
                                          "thinking_budget_tokens",
                                          "reasoning_budget_tokens"};
    gen_request_t            r;
    char                     body[200];
    size_t                   i;

    for (i = 0; i < llm_countof(words); i++) {
        snprintf(body, sizeof(body), M ",\"reasoning_effort\":\"%s\"}",
                 words[i]);
        r = parse(C, body);
        ok(r.effort == GEN_EFFORT_NONE + (int) i && r.has_budget == (i == 0)
               && r.think_budget == 0,
           "reasoning_effort %s", words[i]);
        api_request_free(&r);
    }

    for (i = 0; i < llm_countof(budgets); i++) {
        snprintf(body, sizeof(body), M ",\"%s\":77}", budgets[i]);
        r = parse(C, body);
        ok(r.has_budget && r.think_budget == 77, "%s", budgets[i]);
        api_request_free(&r);
    }

    r = parse(C, M ",\"thinking_budget\":-1,\"reasoning_effort\":null}");
    ok(!r.has_budget && r.effort == GEN_EFFORT_DEFAULT,
       "-1 and null: no bound");
    api_request_free(&r);
}


/* 4,096 tools, and a history of as many calls. */

static void
test_many(void)
{
    gen_request_t req;
    gen_error_t   e = {0};
    buf_t         b = {0};
    int           i, n;

    for (n = 4096; n < 4098; n++) {
        buf_reset(&b);
        buf_str(&b, M ",\"tools\":[");
        for (i = 0; i < n; i++) {
            buf_fmt(&b,
                    "%s{\"type\":\"function\",\"function\":{\"name\":"
                    "\"f%d\"}}",
                    i ? "," : "", i);
        }
        buf_str(&b, "],\"tool_choice\":{\"type\":\"function\",\"function\":"
                    "{\"name\":\"f4095\"}}}");

        if (api_openai_parse(C, b.data, b.len, &req, &e) == 0) {
            ok(n == 4096 && req.n_offers == 4096 && req.offers[4095].offered
                   && !req.offers[4094].offered
                   && str_eq(req.offers[4095].schema, (str_t){0}),
               "4,096 tools");
            api_request_free(&req);
        } else {
            ok(n == 4097 && strcmp(e.code, "array_above_max_length") == 0,
               "4,097 are too many");
        }
    }

    buf_reset(&b);
    buf_str(&b, "{\"messages\":[" U);
    for (i = 0; i < 4096; i++) {
        buf_fmt(&b,
                ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c%d\","
                "\"type\":\"function\",\"function\":{" A "\"{}\"}}]}",
                i);
    }
    for (i = 4095; i >= 0; i--) {
        buf_fmt(&b,
                ",{\"role\":\"tool\",\"tool_call_id\":\"c%d\","
                "\"content\":\"\"}",
                i);
    }
    buf_str(&b, "]}");
    is_int(api_openai_parse(C, b.data, b.len, &req, &e), 0,
           "4,096 calls, results backwards");
    api_request_free(&req);
    buf_free(&b);
}


static void
test_tokenize(void)
{
    static const char body[] = M ",\"tools\":[" F "],\"reasoning_effort\":"
                                 "\"low\"}";
    static const char bad[] = M ",\"tools\":[{}]}";
    api_tokenize_t    t;
    gen_error_t       e = {0};

    is_int(api_tokenize_parse(body, sizeof(body) - 1, &t, &e), 0,
           "tokenize with tools");
    ok(json_array_size(t.req.tools) == 1 && t.req.effort == GEN_EFFORT_LOW,
       "... that the template sees");
    api_request_free(&t.req);
    ok(api_tokenize_parse(bad, sizeof(bad) - 1, &t, &e) < 0
           && strcmp(e.param, "tools[0].type") == 0,
       "... or not");
}


int
main(void)
{
    test_refused();
    test_tools();
    test_shown();
    test_history();
    test_formats();
    test_reasoning();
    test_many();
    test_tokenize();

    return tap_done();
}
