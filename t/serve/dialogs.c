/*
 * A conversation with calls through the chat templates of many models: what
 * was called and what came of it stands in every prompt, in the order in which
 * it was said, and so do the tools on offer.
 */

#include <dirent.h>
#include "engine/serve/front.h"
#include "t/lib/tap.h"
#include "t/text/small.h"

#define DIR_TEMPLATES "../shared/data/chat-templates"

static text_tokenizer_t *tok;

/* Templates that write no history of calls, or refuse one: why. */
static const char *const exceptions[][2] = {
    {"llama-cpp-rwkv-world.jinja", "shows the last message only"},
    {"Kimi-K2-Instruct.jinja", "changes a list: transformers refuses it too"},
    {"Kimi-K2-Thinking.jinja", "changes a list: transformers refuses it too"},
    {"llama-cpp-deepseek-r1.jinja", "dumps a generator: as Jinja2, an error"},
    {"fireworks-ai-llama-3-firefunction-v2.jinja",
     "wants `functions` and `datetime` among the template's arguments"},
};

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
    "\"description\":\"Weather of a city\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"city\":{\"type\":\"string\",\"description\":\"Its "
    "name\"}},\"required\":[\"city\"]}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"get_time\","
    "\"description\":\"\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{}}}}]";

/* One call; two calls with their results the other way round; free text. */
static const char history[] =
    "[{\"role\":\"system\",\"content\":\"Be brief.\"},"
    "{\"role\":\"user\",\"content\":\"Weather?\"},"
    "{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"Hm\","
    "\"tool_calls\":[{\"id\":\"call_0000000000000000000000a1\","
    "\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
    "\"arguments\":{\"city\":\"Oslo\"}}}]},"
    "{\"role\":\"tool\",\"tool_call_id\":\"call_0000000000000000000000a1\","
    "\"name\":\"get_weather\",\"content\":\"Rainy\"},"
    "{\"role\":\"assistant\",\"content\":\"It rains.\"},"
    "{\"role\":\"user\",\"content\":\"And both?\"},"
    "{\"role\":\"assistant\",\"content\":\"\","
    "\"tool_calls\":[{\"id\":\"call_0000000000000000000000b1\","
    "\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
    "\"arguments\":{\"city\":\"Bergen\"}}},"
    "{\"id\":\"call_0000000000000000000000b2\","
    "\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
    "\"arguments\":{\"city\":\"Narvik\"}}}]},"
    "{\"role\":\"tool\",\"tool_call_id\":\"call_0000000000000000000000b2\","
    "\"name\":\"get_weather\",\"content\":\"Snowy\"},"
    "{\"role\":\"tool\",\"tool_call_id\":\"call_0000000000000000000000b1\","
    "\"name\":\"get_weather\",\"content\":\"Windy\"},"
    "{\"role\":\"assistant\",\"content\":\"Wind and snow.\"},"
    "{\"role\":\"user\",\"content\":\"Thanks!\"}]";


static const char *
excepted(const char *name)
{
    size_t i;

    for (i = 0; i < llm_countof(exceptions); i++) {
        if (strcmp(name, exceptions[i][0]) == 0) {
            return exceptions[i][1];
        }
    }

    return NULL;
}


static char *
slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = malloc(1 << 20);

    *len = f ? fread(text, 1, (1 << 20) - 1, f) : 0;
    text[*len] = 0;
    if (f) {
        fclose(f);
    }

    return text;
}


/* The words one behind the other; else the first that is missing. */

static const char *
misses(const char *text, const char *const *words)
{
    const char *p = text;
    size_t      i;

    for (i = 0; words[i]; i++) {
        p = strstr(p, words[i]);
        if (p == NULL) {
            return words[i];
        }
        p++;
    }

    return NULL;
}


static void
test_template(const char *name, const char *source, size_t len)
{
    static const char *const words[] = {"Oslo",      "Rainy",  "It rains.",
                                        "And both?", "Bergen", NULL};
    static const char *const rest[] = {"And both?", "Narvik", NULL};
    static const char *const both[] = {"Wind and snow.", "Thanks!", NULL};
    const char              *missing;
    version_t                v = {.vocab.tokenizer = tok};
    serve_t                  serve = {0};
    req_t                    r = {.serve = &serve, .version = &v};
    gen_request_t            req = {.kind = GEN_CHAT};
    chat_text_t              text;
    char                     err[256];
    int                      rc;

    rc = chat_template_compile(source, len, &v.dialog.template, err,
                               sizeof(err));
    if (rc < 0) {
        ok(0, "%s: %s", name, err);
        return;
    }

    v.dialog.format = chat_format_detect(source, len);
    v.dialog.shows_tools = chat_format_shows_tools(source, len);
    v.dialog.reasons = chat_format_reasons(v.dialog.format, source, len);
    v.dialog.id_short = strstr(source, "strings with length 9") != NULL;
    req.messages = json_loads(history, 0, NULL);
    req.tools = json_loads(tools, 0, NULL);

    rc = front_render(&r, &req, 1, &text);

    if (rc < 0) {
        ok(0, "%s: %s", name, r.error.message);

    } else {
        missing = misses(text.text, words);
        missing = missing ? missing : misses(text.text, rest);
        missing = missing ? missing : misses(text.text, both);
        missing = missing                      ? missing
                  : strstr(text.text, "Snowy") ? NULL
                                               : "Snowy";
        missing = missing                      ? missing
                  : strstr(text.text, "Windy") ? NULL
                                               : "Windy";
        missing = missing                         ? missing
                  : strstr(text.text, "get_time") ? NULL
                                                  : "get_time";
        ok(missing == NULL, "%s (%s): calls, results and tools are there", name,
           chat_format_name(v.dialog.format));
        if (missing) {
            diag("no '%s' in its place in: %s", missing, text.text);
        }
        chat_text_free(&text);
    }

    chat_template_free(v.dialog.template);
    json_decref(req.messages);
    json_decref(req.tools);
}


static int
by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}


int
main(void)
{
    static const char plain[] =
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n"
        "{% endfor %}assistant: ";
    static const char no_system[] =
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}"
        "{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != "
        "(loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif "
        "%}{{ m['content'] }}\n{% endfor %}";
    static small_t  small;
    text_vocab_t    vocab;
    struct dirent **list;
    char            path[512], *text;
    size_t          len;
    int             i, n;

    small_vocab(&small, &vocab);
    vocab.bos = vocab.eos = SMALL_END;
    if (text_tokenizer_new(&vocab, &tok, path, sizeof(path)) < 0) {
        printf("Bail out! %s\n", path);
        return 1;
    }

    llm_log_level(-1);
    test_template("one without tools", plain, sizeof(plain) - 1);
    test_template("one without a system", no_system, sizeof(no_system) - 1);

    n = scandir(DIR_TEMPLATES, &list, NULL, by_name);

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), DIR_TEMPLATES "/%s", list[i]->d_name);
        len = strlen(list[i]->d_name);

        if (len > 6 && strcmp(list[i]->d_name + len - 6, ".jinja") == 0) {
            if (excepted(list[i]->d_name)) {
                diag("%s: %s", list[i]->d_name, excepted(list[i]->d_name));
            } else {
                text = slurp(path, &len);
                test_template(list[i]->d_name, text, len);
                free(text);
            }
        }

        free(list[i]);
    }

    if (n > 0) {
        free(list);
    } else {
        diag("no ../shared: the templates of models are not tried");
    }

    text_tokenizer_free(tok);

    return tap_done();
}
