/*
 * What a model may call: tools, the legacy functions, and which of them an
 * answer may, must or must not use.
 *
 * Two forms come of it: req->offers, what grammar and writer need, with
 * places in the body for schemas; and req->tools, what chat templates show, in
 * OpenAI's form with what templates take for granted filled in.  Any thread.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/api/fields.h"

#define TOOLS_MAX      4096
#define TOOLS_NAME_MAX 64

static const char *const tool_types[] = {"function", "custom", NULL};

static int   tools_begin(parse_t *p, const char *param, json_t *v);
static int   tools_function(parse_t *p, const char *at, const char *pointer,
                            json_t *function);
static int   tools_custom(parse_t *p, const char *at, json_t *custom);
static int   tools_grammar(parse_t *p, const char *at, json_t *format,
                           gen_tool_t *tool);
static int   tools_name(parse_t *p, const char *at, json_t *object,
                        gen_tool_t *tool);
static int   tools_parameters(parse_t *p, const char *at, json_t *function,
                              gen_tool_t *tool, json_t **parameters);
static int   tools_object_type(json_t *type);
static int   tools_show(parse_t *p, json_t *given, json_t *body,
                        json_t *parameters);
static int   choice_word(parse_t *p, json_t *v);
static int   choice_object(parse_t *p, json_t *v);
static int   choice_allowed(parse_t *p, json_t *v);
static int   choice_named(parse_t *p, const char *at, json_t *v);
static int   choice_offer(parse_t *p, const char *at, json_t *object, int kind);
static str_t tools_pointer(parse_t *p, const char *pointer, const char *member);
static void  choice_all(gen_request_t *req, int offered);
static json_t *tools_input(void);


int
parse_tools(parse_t *p, const field_t *f, json_t *v)
{
    static const int kinds[] = {GEN_TOOL_FUNCTION, GEN_TOOL_CUSTOM};
    char             at[API_PATH], pointer[API_PATH];
    json_t          *tool, *body;
    size_t           i;
    int              type;

    LLM_TRY(tools_begin(p, f->name, v));

    if (json_array_size(v) == 0) {
        return 0; /* as if it were not there; OpenAI's schema allows it */
    }

    json_array_foreach(v, i, tool)
    {
        api_path(at, "tools[%zu]", i);
        LLM_TRY(api_type(p, api_param(p, "%s", at), tool, API_OBJECT));
        LLM_TRY(api_word(p, at, tool, "type", tool_types, &type));
        LLM_TRY(api_need(p, at, tool, tool_types[type], API_OBJECT, &body));

        api_path(at, "tools[%zu].%s", i, tool_types[type]);
        api_path(pointer, "/tools/%zu", i);

        p->req->offers[i].at = tools_pointer(p, pointer, "");
        if (p->req->offers[i].at.s == NULL) {
            return api_no_memory(p);
        }

        p->req->offers[i].kind = kinds[type];
        p->req->n_offers++;

        if (kinds[type] == GEN_TOOL_FUNCTION) {
            api_path(pointer, "/tools/%zu/function", i);
            LLM_TRY(tools_function(p, at, pointer, body));
        } else {
            LLM_TRY(tools_custom(p, at, body));
        }
    }

    return 0;
}


/* The legacy list: functions with nothing around them. */

int
parse_functions(parse_t *p, const field_t *f, json_t *v)
{
    char    at[API_PATH], pointer[API_PATH];
    json_t *function;
    size_t  i;

    if (p->req->n_offers) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "'functions' and 'tools' cannot be used together.");
    }

    LLM_TRY(tools_begin(p, f->name, v));
    p->req->functions = 1;

    json_array_foreach(v, i, function)
    {
        api_path(at, "functions[%zu]", i);
        api_path(pointer, "/functions/%zu", i);
        LLM_TRY(api_type(p, api_param(p, "%s", at), function, API_OBJECT));

        p->req->offers[i].at = tools_pointer(p, pointer, "");
        if (p->req->offers[i].at.s == NULL) {
            return api_no_memory(p);
        }

        p->req->offers[i].kind = GEN_TOOL_FUNCTION;
        p->req->n_offers++;
        LLM_TRY(tools_function(p, at, pointer, function));
    }

    return 0;
}


static int
tools_begin(parse_t *p, const char *param, json_t *v)
{
    gen_request_t *req = p->req;
    size_t         n;

    LLM_TRY(api_type(p, param, v, API_ARRAY));

    n = json_array_size(v);

    if (n == 0 && param[0] == 't') {
        return 0;
    }

    if (n == 0) {
        return gen_error(p->error, 400, "empty_array", param,
                         "Invalid '%s': empty array. Expected an array with "
                         "minimum length 1, but got an empty array instead.",
                         param);
    }

    if (n > TOOLS_MAX) {
        return gen_error(p->error, 400, "array_above_max_length", param,
                         "Invalid '%s': array too long. Expected an array with "
                         "maximum length %d, but got an array with length %zu "
                         "instead.",
                         param, TOOLS_MAX, n);
    }

    req->offers = arena_get(&req->arena, n * sizeof(gen_tool_t));
    req->tools = json_array();
    p->names = json_object();

    return req->offers && req->tools && p->names ? 0 : api_no_memory(p);
}


static int
tools_function(parse_t *p, const char *at, const char *pointer,
               json_t *function)
{
    gen_tool_t *tool = &p->req->offers[p->req->n_offers - 1];
    json_t     *v, *parameters;

    LLM_TRY(tools_name(p, at, function, tool));
    LLM_TRY(api_member(p, at, function, "description", API_STRING, &v));
    LLM_TRY(api_member(p, at, function, "strict", API_BOOLEAN, &v));
    tool->strict = v && json_is_true(v);

    LLM_TRY(tools_parameters(p, at, function, tool, &parameters));

    if (parameters) {
        tool->schema = tools_pointer(p, pointer, "/parameters");
        if (tool->schema.s == NULL) {
            return api_no_memory(p);
        }
    }

    return tools_show(p, function, NULL, parameters);
}


/* Absent, or the schema of an object. */

static int
tools_parameters(parse_t *p, const char *at, json_t *function, gen_tool_t *tool,
                 json_t **parameters)
{
    const char *param;
    json_t     *type;
    char       *text;

    LLM_TRY(api_member(p, at, function, "parameters", API_OBJECT, parameters));

    type = *parameters ? json_object_get(*parameters, "type") : NULL;

    if (type == NULL || tools_object_type(type)) {
        return 0;
    }

    param = api_param(p, "%s.parameters", at);
    text = json_dumps(type, JSON_ENCODE_ANY | JSON_COMPACT);

    gen_error(p->error, 400, "invalid_function_parameters", param,
              "Invalid schema for function '%s': schema must be a JSON Schema "
              "of 'type: \"object\"', got 'type: %.64s'.",
              tool->name.s, text ? text : "?");
    free(text);

    return -EINVAL;
}


static int
tools_object_type(json_t *type)
{
    json_t *item;
    size_t  i;

    if (json_is_string(type)) {
        return str_eq(api_str(type), str_lit("object"));
    }

    json_array_foreach(type, i, item)
    {
        if (json_is_string(item) && str_eq(api_str(item), str_lit("object"))) {
            return 1;
        }
    }

    return 0;
}


static int
tools_custom(parse_t *p, const char *at, json_t *custom)
{
    gen_tool_t *tool = &p->req->offers[p->req->n_offers - 1];
    json_t     *v;

    LLM_TRY(tools_name(p, at, custom, tool));
    LLM_TRY(api_member(p, at, custom, "description", API_STRING, &v));
    LLM_TRY(api_member(p, at, custom, "format", API_OBJECT, &v));

    if (v) {
        LLM_TRY(tools_grammar(p, at, v, tool));
    }

    return tools_show(p, NULL, custom, NULL);
}


static int
tools_grammar(parse_t *p, const char *at, json_t *format, gen_tool_t *tool)
{
    static const char *const types[] = {"text", "grammar", NULL};
    static const char *const syntaxes[] = {"lark", "regex", NULL};
    static const int         kinds[] = {GEN_SYNTAX_LARK, GEN_SYNTAX_REGEX};
    char                     where[API_PATH];
    json_t                  *grammar, *v;
    int                      type, syntax;

    api_path(where, "%s.format", at);
    LLM_TRY(api_word(p, where, format, "type", types, &type));

    if (type == 0) {
        return 0;
    }

    LLM_TRY(api_need(p, where, format, "grammar", API_OBJECT, &grammar));
    api_path(where, "%s.format.grammar", at);
    LLM_TRY(api_word(p, where, grammar, "syntax", syntaxes, &syntax));
    LLM_TRY(api_need(p, where, grammar, "definition", API_STRING, &v));

    tool->syntax = kinds[syntax];
    tool->definition = api_str(v);

    return 0;
}


/* OpenAI's rule, for custom tools too: names go into formats as they are. */

static int
tools_name(parse_t *p, const char *at, json_t *object, gen_tool_t *tool)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char       *param;
    json_t           *v;

    LLM_TRY(api_need(p, at, object, "name", API_STRING, &v));

    tool->name = api_str(v);
    param = api_param(p, "%s.name", at);

    if (tool->name.len > TOOLS_NAME_MAX) {
        return gen_error(p->error, 400, "string_above_max_length", param,
                         "Invalid '%s': string too long. Expected a string "
                         "with maximum length %d, but got a string with length "
                         "%zu instead.",
                         param, TOOLS_NAME_MAX, tool->name.len);
    }

    if (tool->name.len == 0 || strspn(tool->name.s, letters) < tool->name.len) {
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid '%s': string does not match pattern. "
                         "Expected a string that matches the pattern "
                         "'^[a-zA-Z0-9_-]+$'.",
                         param);
    }

    if (json_object_get(p->names, tool->name.s)) {
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid '%s': the name '%s' is another tool's "
                         "already.",
                         param, tool->name.s);
    }

    json_object_set_new(p->names, tool->name.s,
                        json_integer(tool - p->req->offers));

    return 0;
}


/*
 * What templates show.  They were written for what transformers makes of a
 * Python function: description, parameters and properties are always there.
 */

static int
tools_show(parse_t *p, json_t *given, json_t *custom, json_t *parameters)
{
    json_t *tool = json_object(), *function, *v;

    function = given ? json_copy(given) : json_object();

    if (custom) {
        json_object_set(function, "name", json_object_get(custom, "name"));
        v = json_object_get(custom, "description");
        if (v) {
            json_object_set(function, "description", v);
        }
        parameters = tools_input();

    } else if (parameters == NULL) {
        parameters = json_pack("{s:s,s:{}}", "type", "object", "properties");

    } else {
        parameters = json_copy(parameters);
        if (json_object_get(parameters, "type") == NULL) {
            json_object_set_new(parameters, "type", json_string("object"));
        }
        if (json_object_get(parameters, "properties") == NULL) {
            json_object_set_new(parameters, "properties", json_object());
        }
    }

    v = json_object_get(function, "description");
    if (v == NULL || json_is_null(v)) {
        json_object_set_new(function, "description", json_string(""));
    }

    json_object_set_new(function, "parameters", parameters);
    json_object_set_new(tool, "type", json_string("function"));
    json_object_set_new(tool, "function", function);

    return json_array_append_new(p->req->tools, tool) < 0 ? api_no_memory(p)
                                                          : 0;
}


/* A custom tool, as a template sees it: a function of one string. */

static json_t *
tools_input(void)
{
    return json_pack("{s:s,s:{s:{s:s}},s:[s]}", "type", "object", "properties",
                     "input", "type", "string", "required", "input");
}


/* A pointer in the arena; s NULL: no memory. */

static str_t
tools_pointer(parse_t *p, const char *pointer, const char *member)
{
    char text[API_PATH];

    api_path(text, "%s%s", pointer, member);

    return str_of(arena_str(&p->req->arena, text, strlen(text)));
}


/* tool_choice or function_call.  Looked at when all tools are known. */

int
parse_choice(parse_t *p, const field_t *f, json_t *v)
{
    if (!json_is_string(v) && !json_is_object(v)) {
        return api_wrong_type(p, f->name, "a string or an object", v);
    }

    if (p->choice) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "'%s' and '%s' cannot be used together.", f->name,
                         p->choice_param);
    }

    p->choice = v;
    p->choice_param = f->name;

    return 0;
}


int
parse_calls(parse_t *p)
{
    gen_request_t *req = p->req;

    req->calls = req->n_offers ? GEN_CALLS_AUTO : GEN_CALLS_NONE;
    choice_all(req, 1);

    /* The legacy form of an answer holds one call. */
    req->parallel &= !req->functions;

    if (p->choice) {
        LLM_TRY(json_is_string(p->choice) ? choice_word(p, p->choice)
                                          : choice_object(p, p->choice));
    }

    if (req->calls == GEN_CALLS_NONE) {
        choice_all(req, 0);

        /* What may not be called is not shown. */
        json_decref(req->tools);
        req->tools = NULL;
    }

    return 0;
}


static void
choice_all(gen_request_t *req, int offered)
{
    uint32_t i;

    for (i = 0; i < req->n_offers; i++) {
        req->offers[i].offered = offered;
    }
}


static int
choice_word(parse_t *p, json_t *v)
{
    static const struct {
        const char *word;
        int         calls;
    } words[] = {{"none", GEN_CALLS_NONE},
                 {"auto", GEN_CALLS_AUTO},
                 {"required", GEN_CALLS_REQUIRED},
                 {"any", GEN_CALLS_REQUIRED}}; /* Mistral's word for it */
    int    legacy = strcmp(p->choice_param, "function_call") == 0;
    size_t i, n = legacy ? 2 : llm_countof(words);

    for (i = 0; i < n; i++) {
        if (!str_eq(api_str(v), str_of(words[i].word))) {
            continue;
        }

        if (p->req->n_offers) {
            p->req->calls = words[i].calls;

        } else if (words[i].calls == GEN_CALLS_REQUIRED) {
            return gen_error(p->error, 400, "invalid_value", p->choice_param,
                             "Invalid value for 'tool_choice': 'tool_choice' "
                             "is only allowed when 'tools' are specified.");
        }

        return 0;
    }

    return gen_error(p->error, 400, "invalid_value", p->choice_param,
                     "Invalid value: '%.64s'. Supported values of '%s' are: "
                     "%s.",
                     json_string_value(v), p->choice_param,
                     legacy ? "none, auto, and an object"
                            : "none, auto, required, any, and an object");
}


static int
choice_object(parse_t *p, json_t *v)
{
    static const char *const types[] = {"function", "custom", "allowed_tools",
                                        NULL};
    int                      type;

    if (p->req->n_offers == 0) {
        return gen_error(p->error, 400, "invalid_value", p->choice_param,
                         "Invalid value for '%s': it is only allowed when "
                         "'%s' are specified.",
                         p->choice_param,
                         p->choice_param[0] == 't' ? "tools" : "functions");
    }

    p->req->calls = GEN_CALLS_REQUIRED;

    if (p->choice_param[0] == 'f') {
        choice_all(p->req, 0);
        return choice_offer(p, p->choice_param, v, GEN_TOOL_FUNCTION);
    }

    LLM_TRY(api_word(p, p->choice_param, v, "type", types, &type));
    choice_all(p->req, 0);

    if (type == 2) {
        return choice_allowed(p, v);
    }

    /* One named tool is one call of it. */
    p->req->parallel = 0;

    return choice_named(p, p->choice_param, v);
}


/* {"type": "function", "function": {"name"}}, or the same of a custom tool */

static int
choice_named(parse_t *p, const char *at, json_t *v)
{
    static const int kinds[] = {GEN_TOOL_FUNCTION, GEN_TOOL_CUSTOM};
    char             where[API_PATH];
    json_t          *object;
    int              type;

    LLM_TRY(api_word(p, at, v, "type", tool_types, &type));
    LLM_TRY(api_need(p, at, v, tool_types[type], API_OBJECT, &object));
    api_path(where, "%s.%s", at, tool_types[type]);

    return choice_offer(p, where, object, kinds[type]);
}


static int
choice_allowed(parse_t *p, json_t *v)
{
    static const char        at[] = "tool_choice.allowed_tools";
    static const char *const modes[] = {"auto", "required", NULL};
    char                     where[API_PATH];
    json_t                  *allowed, *list, *tool;
    size_t                   i;
    int                      mode;

    LLM_TRY(
        api_need(p, p->choice_param, v, "allowed_tools", API_OBJECT, &allowed));
    LLM_TRY(api_word(p, at, allowed, "mode", modes, &mode));
    LLM_TRY(api_need(p, at, allowed, "tools", API_ARRAY, &list));

    if (json_array_size(list) == 0) {
        return gen_error(p->error, 400, "empty_array",
                         "tool_choice.allowed_tools.tools",
                         "Invalid 'tool_choice.allowed_tools.tools': empty "
                         "array.");
    }

    p->req->calls = mode ? GEN_CALLS_REQUIRED : GEN_CALLS_AUTO;

    json_array_foreach(list, i, tool)
    {
        api_path(where, "%s.tools[%zu]", at, i);
        LLM_TRY(api_type(p, api_param(p, "%s", where), tool, API_OBJECT));
        LLM_TRY(choice_named(p, where, tool));
    }

    return 0;
}


static int
choice_offer(parse_t *p, const char *at, json_t *object, int kind)
{
    const char *param;
    json_t     *v, *number;
    gen_tool_t *tool = NULL;

    LLM_TRY(api_need(p, at, object, "name", API_STRING, &v));

    number =
        json_object_getn(p->names, json_string_value(v), json_string_length(v));
    if (number) {
        tool = &p->req->offers[json_integer_value(number)];
    }

    if (tool == NULL || tool->kind != kind) {
        param = api_param(p, "%s.name", at);
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid value for '%s': no %s named '%.64s' was "
                         "specified in the '%s' parameter.",
                         param,
                         kind == GEN_TOOL_CUSTOM ? "custom tool" : "function",
                         json_string_value(v),
                         p->req->functions ? "functions" : "tools");
    }

    tool->offered = 1;

    return 0;
}
