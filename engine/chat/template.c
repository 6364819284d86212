/*
 * Chat templates: the way in and out of the Jinja renderer.
 *
 * Compiling keeps its arena as the template; a render makes an arena, and
 * takes it down on every way out.
 */

#include <stdio.h>
#include <stdlib.h>

#include "engine/chat/template.h"
#include "engine/chat/jinja/jinja_ast.h"

#define MAX_SOURCE     (1024 * 1024)
#define COMPILE_MEMORY (128 * 1024 * 1024)
#define COMPILE_STEPS  50000000
#define DEFAULT_STEPS  10000000
#define DEFAULT_OUTPUT (16 * 1024 * 1024)
#define DEFAULT_MEMORY (256 * 1024 * 1024)
#define DEFAULT_DEPTH  400

struct chat_template_s {
    jinja_arena_t arena;
    jinja_node_t *root;
};


void
jinja_syntax(jinja_t *j, uint32_t line, const char *fmt, ...)
{
    int     n;
    va_list ap;

    j->code = -EINVAL;
    n = snprintf(j->err, j->err_size, "line %u: ", (unsigned) line);

    if (n >= 0 && (size_t) n < j->err_size) {
        va_start(ap, fmt);
        vsnprintf(j->err + n, j->err_size - (size_t) n, fmt, ap);
        va_end(ap);
    }

    longjmp(j->jmp, 1);
}


static void
run_init(jinja_t *j, char *err, size_t err_size)
{
    memset(j, 0, sizeof(*j));
    j->err = err;
    j->err_size = err_size;
    j->max_depth = DEFAULT_DEPTH;
    j->max_output = DEFAULT_OUTPUT;

    if (err_size) {
        err[0] = 0;
    }
}


typedef struct {
    const char            *src;
    size_t                 len;
    jinja_node_t          *root; /* compile's result */
    const chat_template_t *tpl;
    json_t                *vars;
    const chat_limits_t   *limits;
    jinja_buf_t            out; /* render's result */
} job_t;


/* Runs fn; whatever it throws ends here.  0 or the error's code. */

static int
run_guarded(jinja_t *j, void (*fn)(jinja_t *j, job_t *job), job_t *job)
{
    if (setjmp(j->jmp)) {
        return j->code;
    }

    fn(j, job);

    return 0;
}


static void
compile(jinja_t *j, job_t *job)
{
    jinja_parser_t p = {.j = j};

    job->root = jinja_alloc(j, sizeof(jinja_node_t));
    jinja_lex(&p, job->src, job->len);
    job->root->kind = JN_WITH;
    job->root->list = jinja_parse(&p);
    j->vars = p.names;
    jinja_scope(j, job->root);
}


int
chat_template_compile(const char *src, size_t len, chat_template_t **tpl_new,
                      char *err, size_t err_size)
{
    int              rc;
    job_t            job = {.src = src, .len = len};
    jinja_t          j;
    chat_template_t *tpl;

    *tpl_new = NULL;
    run_init(&j, err, err_size);

    if (len > MAX_SOURCE) {
        snprintf(err, err_size, "the template is larger than %d bytes",
                 MAX_SOURCE);
        return -E2BIG;
    }

    tpl = calloc(1, sizeof(*tpl));
    if (tpl == NULL) {
        snprintf(err, err_size, "out of memory");
        return -ENOMEM;
    }

    j.arena.left = COMPILE_MEMORY;
    j.steps = COMPILE_STEPS;
    rc = run_guarded(&j, compile, &job);

    if (rc) {
        jinja_arena_free(&j.arena);
        free(tpl);
        return rc == -ETIME ? -E2BIG : rc;
    }

    tpl->root = job.root;
    tpl->arena = j.arena;
    *tpl_new = tpl;

    return 0;
}


static bool
named(const char *name, const char *const *list)
{
    for (; list && *list; list++) {
        if (strcmp(name, *list) == 0) {
            return true;
        }
    }

    return false;
}


static void
vars_load(jinja_t *j, json_t *vars, const chat_limits_t *limits)
{
    void              *it;
    bool               trusted;
    const char        *name;
    const char *const *roles;
    jinja_val_t        key;

    j->vars = jinja_dict_new(j, json_object_size(vars), true);

    for (it = json_object_iter(vars); it;
         it = json_object_iter_next(vars, it)) {
        name = json_object_iter_key(it);
        trusted = limits && named(name, limits->trusted_vars);
        roles = limits && strcmp(name, "messages") == 0 ? limits->trusted_roles
                                                        : NULL;
        key = jinja_str(j, name, json_object_iter_key_len(it), trusted);
        jinja_dict_set(j, j->vars, key,
                       jinja_from_json(j, json_object_iter_value(it), trusted,
                                       roles));
    }
}


static void
render(jinja_t *j, job_t *job)
{
    jinja_env_t        *env;
    const jinja_node_t *root = job->tpl->root;

    vars_load(j, job->vars, job->limits);
    env = jinja_env_new(j, root->func, NULL);
    jinja_frame_enter(j, env, &root->frame);
    (void) jinja_exec(j, env, &root->list, &job->out);
}


static int
text_take(const jinja_buf_t *b, chat_text_t *out)
{
    out->text = malloc(b->len + 1);
    out->trusted = malloc(b->len + 1);

    if (out->text == NULL || out->trusted == NULL) {
        chat_text_free(out);
        return -ENOMEM;
    }

    if (b->len) {
        memcpy(out->text, b->text, b->len);
    }

    if (b->mask) {
        memcpy(out->trusted, b->mask, b->len);
    } else {
        memset(out->trusted, b->trusted, b->len);
    }

    out->text[b->len] = 0;
    out->len = b->len;

    return 0;
}


int
chat_template_render(const chat_template_t *tpl, json_t *vars_borrow,
                     const chat_limits_t *limits, chat_text_t *out, char *err,
                     size_t err_size)
{
    int     rc;
    job_t   job = {.tpl = tpl, .vars = vars_borrow, .limits = limits};
    jinja_t j;

    memset(out, 0, sizeof(*out));
    run_init(&j, err, err_size);
    j.arena.left = DEFAULT_MEMORY;
    j.steps = DEFAULT_STEPS;

    if (limits) {
        j.arena.left = limits->max_memory ? limits->max_memory : j.arena.left;
        j.steps = limits->max_steps ? limits->max_steps : j.steps;
        j.max_output = limits->max_output ? limits->max_output : j.max_output;
        j.max_depth = limits->max_depth ? limits->max_depth : j.max_depth;
        j.now = limits->now;
    }

    rc = run_guarded(&j, render, &job);

    if (rc == 0) {
        rc = text_take(&job.out, out);
        if (rc) {
            snprintf(err, err_size, "out of memory");
        }
    }

    jinja_arena_free(&j.arena);

    return rc;
}


void
chat_template_free(chat_template_t *tpl_take)
{
    if (tpl_take) {
        jinja_arena_free(&tpl_take->arena);
        free(tpl_take);
    }
}


void
chat_text_free(chat_text_t *text)
{
    free(text->text);
    free(text->trusted);
    memset(text, 0, sizeof(*text));
}
