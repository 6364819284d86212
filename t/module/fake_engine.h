/*
 * The fake engine's state and its log. fake_engine.c says what it is; this
 * file and fake_steps.h are parts of it, included there and nowhere else.
 */

#ifndef FAKE_ENGINE_H
#define FAKE_ENGINE_H

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/ipc/abi.h"
#include "engine/ipc/conn.h"
#include "engine/ipc/ring.h"

#define FE_CONNS        32
#define FE_SLOTS        256
#define FE_WORDS        64
#define FE_PIECE        32768
#define FE_CREDIT_FALSE (1u << 29) /* what ["bad", "credit"] takes */

typedef struct fe_conn_s fe_conn_t;

typedef struct {
    fe_conn_t   *conn;
    uint32_t     slot;
    uint32_t     gen; /* of the last use, also when free */
    unsigned     used : 1;
    unsigned     cancelled : 1;
    unsigned     deaf : 1;
    unsigned     go : 1;
    unsigned     admitted : 1;
    unsigned     headed : 1;
    unsigned     stream : 1;
    unsigned     whole : 1; /* the body is there */
    uint16_t     status;
    llm_submit_t sub;
    char        *model;
    char        *tenant;
    char        *salt;
    char        *request_id;
    uint8_t     *body;
    uint64_t     got;
    unsigned     pieces;
    json_t      *root; /* owns script */
    json_t      *script;
    size_t       pc;
    uint64_t     due; /* ms; 0: none */
    uint64_t     arrived;
    uint64_t     credit;
    uint32_t     tokens;
    uint32_t     events; /* of choice 0, written whole */
    long         count;  /* of the current step, done */
    char        *out;    /* DATA that waits for credit or space */
    size_t       out_len;
    size_t       out_off;
    uint32_t     out_tokens;
    unsigned     out_boundary : 1;
} fe_req_t;

struct fe_conn_s {
    llm_ipc_t ipc;
    unsigned  used : 1;
    unsigned  connected : 1;
    unsigned  manifested : 1;
    unsigned  state_due : 1;
    uint64_t  hello_at;
    uint64_t  ready_at; /* when loading ends */
    char     *manifest;
    size_t    manifest_len;
    fe_req_t  reqs[FE_SLOTS];
};

typedef struct {
    const char *socket;
    const char *bodies;
    const char *failed;
    const char *refuse;
    const char *state; /* forced by "state WORD" */
    uint32_t    slots;
    long        life;
    long        hello_delay;
    long        loading;
    unsigned    silent : 1;
    unsigned    hello_die : 1;
    unsigned    no_state : 1;
    unsigned    paused : 1;
    unsigned    hung : 1;
    unsigned    quit : 1;
    unsigned    no_stdin : 1;
    FILE       *log;
    int         epfd;
    int         listen_fd;
    uint64_t    boot;
    uint64_t    steps;
    unsigned    faults;
    unsigned    accepted;
    uint8_t     bad_id[32]; /* the last request that had its bad record */
    char        words[FE_WORDS][32];
    unsigned    n_words;
    char        line[256];
    size_t      line_len;
    fe_conn_t   conns[FE_CONNS];
} fe_t;

enum { STEP_NEXT, STEP_WAIT, STEP_GONE };

static fe_t fe;

static void conn_close(fe_conn_t *c, const char *why);


static uint64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


__attribute__((format(printf, 1, 2))) static void
say(const char *fmt, ...)
{
    va_list ap;

    fprintf(fe.log, "%llu ", (unsigned long long) now_ms());
    va_start(ap, fmt);
    vfprintf(fe.log, fmt, ap);
    va_end(ap);
    fputc('\n', fe.log);
    fflush(fe.log);
}


#define fault(...) (fe.faults++, say("FAULT " __VA_ARGS__))


static long
opt_int(json_t *opts, const char *name, long otherwise)
{
    json_t *v = json_object_get(opts, name);

    if (json_is_boolean(v)) {
        return json_is_true(v);
    }

    return json_is_integer(v) ? (long) json_integer_value(v) : otherwise;
}


static const char *
opt_str(json_t *opts, const char *name, const char *otherwise)
{
    json_t *v = json_object_get(opts, name);

    return json_is_string(v) ? json_string_value(v) : otherwise;
}


static long
word_index(const char *const *list, const char *word, long otherwise)
{
    long i;

    for (i = 0; word != NULL && list[i] != NULL; i++) {
        if (strcmp(list[i], word) == 0) {
            return i;
        }
    }

    return otherwise;
}


static void
conn_flush(fe_conn_t *c)
{
    if (c->used && c->connected && llm_ring_flush(&c->ipc.tx)) {
        llm_ipc_ring(&c->ipc);
    }
}

#endif /* FAKE_ENGINE_H */
