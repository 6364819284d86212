/*
 * llm-quantize: a model, as GGUF or as a folder of Hugging Face's, into a
 * GGUF whose matrices have fewer bits.
 *
 *     llm-quantize [--type TYPE] [--tensor-type PATTERN=TYPE ...]
 *                  [--threads N] [--dry-run] INPUT OUTPUT.gguf
 *
 *     TYPE      q4_k (a mix of 4 and 6 bits; the default), q5_k (5 and 6),
 *               q8_0, q4_0, q4_1, q5_0, q5_1, q6_k, iq4_nl, mxfp4, f16, bf16,
 *               f32; "copy" leaves every tensor its type
 *     PATTERN   names of tensors, as a shell's ("blk.*.ffn_down.weight"); the
 *               last that fits counts
 *
 * Tensors that are quantised stay as they are: to ask for another type is
 * refused, as the loss would not be seen.  The output appears under its name
 * when it is whole.
 *
 * Threads take pieces of rows in turns: reading is under a lock, as a source
 * of rows wants it, quantising and writing are not.  Exit status: 0, 1, 2 for
 * usage.
 */

#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/serve/vocab.h"
#include "util/tool_model.h"

#define QZ_THREADS  64
#define QZ_RULES    64
#define QZ_PIECE    (1u << 20) /* elements of one */
#define QZ_BAR      28
#define QZ_VERSION  2 /* general.quantization_version */
#define QZ_COPY     UINT32_MAX
#define QZ_NO_FTYPE UINT32_MAX

typedef struct {
    const char *name;
    uint32_t    type;
    uint32_t    file_type; /* general.file_type */
} qz_type_t;

typedef struct {
    const char *pattern;
    size_t      len;
    uint32_t    type;
} qz_rule_t;

typedef struct {
    const char      *in;
    const char      *out;
    const qz_type_t *type;
    qz_rule_t        rules[QZ_RULES];
    uint32_t         n_rules;
    uint32_t         threads;
    int              dry;
} qz_conf_t;

typedef struct {
    qz_conf_t      conf;
    gguf_t        *g;
    gguf_writer_t *w;
    uint32_t      *types; /* of each tensor, in the output */
    uint64_t      *sizes;
    uint64_t       head;
    uint64_t       total; /* elements of all tensors */
    int            fd;
    char           temp[4096];

    pthread_mutex_t lock; /* what follows, and reading */
    pthread_cond_t  end;
    size_t          tensor; /* the next piece */
    uint64_t        row;
    uint32_t        running;
    int             rc; /* the first failure, and of which tensor */
    size_t          failed;

    _Atomic uint64_t done; /* elements */
} qz_t;


static void             qz_options(qz_conf_t *conf, int argc, char **argv);
static void             qz_usage(void) __attribute__((noreturn));
static void             qz_rule(qz_conf_t *conf, const char *s);
static const qz_type_t *qz_type_find(const char *name);
static void             qz_plan(qz_t *q);
static uint32_t         qz_tensor_type(qz_t *q, const gguf_tensor_t *t);
static int              qz_is_float(uint32_t type);
static void             qz_head(qz_t *q);
static void             qz_pre(qz_t *q);
static int              qz_skip(const char *key, size_t len);
static void             qz_open(qz_t *q, const void *head);
static void             qz_run(qz_t *q);
static void            *qz_thread(void *data);
static int      qz_piece(qz_t *q, uint8_t **raw, size_t *raw_size, float *x);
static int      qz_write(int fd, const void *data, uint64_t size, uint64_t at);
static void     qz_fail(qz_t *q, size_t tensor, int rc);
static void     qz_bar(qz_t *q, double seconds);
static void     qz_finish(qz_t *q, double seconds);
static void     qz_signal(int sig);
static uint64_t qz_rows(const gguf_tensor_t *t);
static uint64_t qz_bytes(uint32_t type, uint64_t elems);


static const qz_type_t qz_types[] = {
    {"q4_k", GGML_Q4_K, 15},     {"q5_k", GGML_Q5_K, 17},
    {"q6_k", GGML_Q6_K, 18},     {"q8_0", GGML_Q8_0, 7},
    {"q4_0", GGML_Q4_0, 2},      {"q4_1", GGML_Q4_1, 3},
    {"q5_0", GGML_Q5_0, 8},      {"q5_1", GGML_Q5_1, 9},
    {"iq4_nl", GGML_IQ4_NL, 25}, {"mxfp4", GGML_MXFP4, 38},
    {"f16", GGML_F16, 1},        {"bf16", GGML_BF16, 32},
    {"f32", GGML_F32, 0},        {"copy", QZ_COPY, QZ_NO_FTYPE}};

static volatile sig_atomic_t qz_stop;


int
main(int argc, char **argv)
{
    double start;

    static qz_t q;

    tool_name = "llm-quantize";
    llm_log_level(LLM_LOG_WARN);

    qz_options(&q.conf, argc, argv);
    q.g = tool_file(q.conf.in);
    q.w = gguf_writer_new();
    if (q.w == NULL) {
        tool_die(1, "no memory");
    }

    qz_plan(&q);

    if (!q.conf.dry) {
        start = tool_now();
        qz_head(&q);
        qz_run(&q);
        qz_finish(&q, tool_now() - start);
    }

    free(q.types);
    free(q.sizes);
    gguf_writer_free(q.w);
    gguf_close(q.g);

    return 0;
}


static void
qz_options(qz_conf_t *conf, int argc, char **argv)
{
    static const struct option list[] = {{"type", 1, NULL, 't'},
                                         {"tensor-type", 1, NULL, 'p'},
                                         {"threads", 1, NULL, 'n'},
                                         {"dry-run", 0, NULL, 'd'},
                                         {NULL, 0, NULL, 0}};
    long                       cores;
    int                        c;

    conf->type = &qz_types[0];
    cores = sysconf(_SC_NPROCESSORS_ONLN);
    conf->threads = cores < 1            ? 1
                    : cores > QZ_THREADS ? QZ_THREADS
                                         : (uint32_t) cores;

    while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
        switch (c) {
        case 't':
            conf->type = qz_type_find(optarg);
            break;
        case 'p':
            qz_rule(conf, optarg);
            break;
        case 'n':
            conf->threads = tool_number("threads", optarg, 1, QZ_THREADS);
            break;
        case 'd':
            conf->dry = 1;
            break;
        default:
            qz_usage();
        }
    }

    if (argc - optind != (conf->dry && argc - optind == 1 ? 1 : 2)) {
        qz_usage();
    }

    conf->in = argv[optind];
    conf->out = argv[optind + 1];
}


static void
qz_usage(void)
{
    size_t i;

    fprintf(stderr,
            "usage: %s [--type TYPE] [--tensor-type PATTERN=TYPE ...]\n"
            "    [--threads N] [--dry-run] INPUT.gguf|FOLDER OUTPUT.gguf\n"
            "types:",
            tool_name);

    for (i = 0; i < llm_countof(qz_types); i++) {
        fprintf(stderr, " %s", qz_types[i].name);
    }

    fputc('\n', stderr);
    exit(2);
}


static const qz_type_t *
qz_type_find(const char *name)
{
    size_t i;

    for (i = 0; i < llm_countof(qz_types); i++) {
        if (strcasecmp(name, qz_types[i].name) == 0) {
            return &qz_types[i];
        }
    }

    fprintf(stderr, "%s: type \"%s\" is not known\n", tool_name, name);
    qz_usage();
}


static void
qz_rule(qz_conf_t *conf, const char *s)
{
    const char *eq = strrchr(s, '=');

    if (eq == NULL || eq == s || conf->n_rules == QZ_RULES) {
        fprintf(stderr, "%s: --tensor-type \"%s\" is not PATTERN=TYPE\n",
                tool_name, s);
        qz_usage();
    }

    conf->rules[conf->n_rules++] =
        (qz_rule_t){.pattern = s,
                    .len = (size_t) (eq - s),
                    .type = qz_type_find(eq + 1)->type};
}


/* Which type each tensor gets, and whether that is any use. */

static void
qz_plan(qz_t *q)
{
    const gguf_tensor_t *t;
    uint64_t             in = 0, out = 0;
    size_t               i, n = gguf_tensor_n(q->g), kept = 0, changed = 0;

    q->types = calloc(n + 1, sizeof(uint32_t));
    q->sizes = calloc(n + 1, sizeof(uint64_t));
    if (q->types == NULL || q->sizes == NULL) {
        tool_die(1, "no memory");
    }

    for (i = 0; i < n; i++) {
        t = gguf_tensor_at(q->g, i);
        q->types[i] = qz_tensor_type(q, t);
        q->sizes[i] = qz_bytes(q->types[i], t->dims[0] * qz_rows(t));
        q->total += t->dims[0] * qz_rows(t);
        in += t->size;
        out += q->sizes[i];
        changed += q->types[i] != t->type;
        kept += !qz_is_float(t->type);

        gguf_put_tensor(q->w, t->name, q->types[i], t->n_dims, t->dims);

        if (q->conf.dry) {
            printf("%-40s %8llu x %-8llu %-5s %s %s\n", t->name,
                   (unsigned long long) t->dims[0],
                   (unsigned long long) qz_rows(t), gguf_type_name(t->type),
                   q->types[i] == t->type ? "  " : "->",
                   q->types[i] == t->type ? "" : gguf_type_name(q->types[i]));
        }
    }

    if (q->conf.dry) {
        printf("%.1f MB -> %.1f MB, %.2f bits a weight\n", (double) in / 1e6,
               (double) out / 1e6, 8 * (double) out / (double) q->total);
    }

    if (changed == 0 && q->conf.type->type != QZ_COPY) {
        tool_die(1, "%s: nothing to do: %s", q->conf.in,
                 kept ? "its matrices are quantised already"
                      : "no tensor would get another type");
    }

    if (kept) {
        fprintf(stderr,
                "%s: %zu tensors are quantised already, they stay as "
                "they are\n",
                tool_name, kept);
    }
}


static uint32_t
qz_tensor_type(qz_t *q, const gguf_tensor_t *t)
{
    const qz_type_t *type = q->conf.type;
    const qz_rule_t *rule;
    uint32_t         i, want;
    char             pattern[512];

    want = type->type == QZ_COPY ? t->type : quant_type_as(type->type, q->g, t);

    /* Vectors: F32 is what everybody reads. */
    if (type->type != QZ_COPY && t->n_dims < 2 && qz_is_float(t->type)) {
        want = GGML_F32;
    }

    for (i = 0; i < q->conf.n_rules; i++) {
        rule = &q->conf.rules[i];
        snprintf(pattern, sizeof(pattern), "%.*s",
                 (int) (rule->len > 500 ? 500 : rule->len), rule->pattern);

        if (fnmatch(pattern, t->name, 0) == 0) {
            want = rule->type == QZ_COPY ? t->type : rule->type;
        }
    }

    if (want != t->type && !qz_is_float(t->type)) {
        tool_die(1, "tensor %s is %s already: it is not quantised again to %s",
                 t->name, gguf_type_name(t->type), gguf_type_name(want));
    }

    if (t->dims[0] % gguf_type(want)->block_elems) {
        tool_die(1, "tensor %s is %llu wide: %s has blocks of %u", t->name,
                 (unsigned long long) t->dims[0], gguf_type_name(want),
                 gguf_type(want)->block_elems);
    }

    return want;
}


static int
qz_is_float(uint32_t type)
{
    return type == GGML_F32 || type == GGML_F16 || type == GGML_BF16;
}


static void
qz_head(qz_t *q)
{
    void   *head;
    ssize_t size;

    gguf_put_all(q->w, q->g, qz_skip);
    qz_pre(q);

    if (q->conf.type->file_type != QZ_NO_FTYPE) {
        gguf_put_u32(q->w, "general.file_type", q->conf.type->file_type);
        gguf_put_u32(q->w, "general.quantization_version", QZ_VERSION);
    }

    size = gguf_writer_head(q->w, &head);
    if (size < 0) {
        tool_die(1, "the head cannot be written: %s", strerror((int) -size));
    }

    q->head = (uint64_t) size;
    qz_open(q, head);
    free(head);
}


/*
 * How a folder's tokenizer.json cuts text, by the name that other programs
 * know; what differs from the name's family stands beside it.
 */

static void
qz_pre(qz_t *q)
{
    gguf_str_t  pre;
    vocab_pre_t v;
    char        err[256];

    if (gguf_get_str(q->g, "tokenizer.ggml.pre", &pre) < 0 || pre.len < 5
        || memcmp(pre.data, "json:", 5) != 0) {
        return;
    }

    if (vocab_pre_read(pre, &v, err, sizeof(err)) < 0) {
        tool_die(1, "%s: %s", q->conf.in, err);
    }

    /* Llama 3's own name says that words go before merges. */
    if (!v.ignore_merges && v.name.len == 9
        && memcmp(v.name.data, "llama-bpe", 9) == 0) {
        v.name = (gguf_str_t){"smaug-bpe", 9};
    }

    gguf_put_str(q->w, "tokenizer.ggml.pre", v.name.data, v.name.len);
    gguf_put_bool(q->w, "tokenizer.ggml.nfc", v.nfc == 1);
    gguf_put_bool(q->w, "tokenizer.ggml.ignore_merges", v.ignore_merges == 1);
}


/* What is about the input's files, not about the model. */

static int
qz_skip(const char *key, size_t len)
{
    return len > 6 && memcmp(key, "split.", 6) == 0;
}


static void
qz_open(qz_t *q, const void *head)
{
    size_t   n = gguf_tensor_n(q->g);
    uint64_t end = q->head;

    snprintf(q->temp, sizeof(q->temp), "%s.%d.tmp", q->conf.out,
             (int) getpid());
    q->fd = open(q->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (q->fd < 0) {
        tool_die(1, "%s: %s", q->temp, strerror(errno));
    }

    signal(SIGINT, qz_signal);
    signal(SIGTERM, qz_signal);

    if (n > 0) {
        end += gguf_writer_offset(q->w, n - 1) + q->sizes[n - 1];
        end = (end + 31) / 32 * 32;
    }

    if (ftruncate(q->fd, (off_t) end) != 0
        || qz_write(q->fd, head, q->head, 0) != 0) {
        unlink(q->temp);
        tool_die(1, "%s: %s", q->temp, strerror(errno));
    }
}


static void
qz_run(qz_t *q)
{
    pthread_t       threads[QZ_THREADS];
    struct timespec until;
    uint32_t        i, n = 0;
    double          start = tool_now();

    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->end, NULL);
    pthread_mutex_lock(&q->lock);

    for (i = 0; i < q->conf.threads; i++) {
        if (pthread_create(&threads[n], NULL, qz_thread, q) == 0) {
            n++;
            q->running++;
        }
    }

    if (n == 0) {
        q->rc = -EAGAIN;
    }

    while (q->running) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;

        pthread_cond_timedwait(&q->end, &q->lock, &until);
        qz_bar(q, tool_now() - start);

        if (qz_stop && q->rc == 0) {
            q->rc = -EINTR;
        }
    }

    pthread_mutex_unlock(&q->lock);

    for (i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }

    if (isatty(2)) {
        fputc('\n', stderr);
    }
}


static void *
qz_thread(void *data)
{
    qz_t    *q = data;
    uint8_t *raw = NULL;
    float   *x;
    size_t   raw_size = 0;

    x = malloc(QZ_PIECE * sizeof(float));

    if (x == NULL) {
        qz_fail(q, 0, -ENOMEM);

    } else {
        while (qz_piece(q, &raw, &raw_size, x)) {
            /* one after the other */
        }
    }

    free(raw);
    free(x);

    pthread_mutex_lock(&q->lock);
    q->running--;
    pthread_cond_signal(&q->end);
    pthread_mutex_unlock(&q->lock);

    return NULL;
}


/*
 * Takes some rows, makes them what they are to be, writes them to their place.
 * 0: there are none left, or something failed.  A row that is larger than x is
 * cut, at the blocks of its type.
 */

static int
qz_piece(qz_t *q, uint8_t **raw, size_t *raw_size, float *x)
{
    const gguf_tensor_t *t;
    uint64_t             n, cols, row, elems, k, done;
    uint32_t             type;
    uint8_t             *out, *p;
    size_t               i, need, in_bytes;
    int                  rc = 0;

    pthread_mutex_lock(&q->lock);

    if (q->rc < 0 || q->tensor == gguf_tensor_n(q->g)) {
        pthread_mutex_unlock(&q->lock);
        return 0;
    }

    i = q->tensor;
    t = gguf_tensor_at(q->g, i);
    type = q->types[i];
    cols = t->dims[0];
    row = q->row;
    n = cols < QZ_PIECE ? QZ_PIECE / cols : 1;
    n = n > qz_rows(t) - row ? qz_rows(t) - row : n;
    elems = n * cols;

    in_bytes = qz_bytes(t->type, elems);
    need = in_bytes + qz_bytes(type, elems);

    if (need > *raw_size) {
        free(*raw);
        *raw = malloc(need);
        *raw_size = *raw ? need : 0;
    }

    rc = *raw ? gguf_tensor_rows(q->g, t, row, n, *raw) : -ENOMEM;

    q->row += n;
    if (q->row >= qz_rows(t)) {
        gguf_tensor_drop(q->g, t);
        q->tensor++;
        q->row = 0;
    }

    pthread_mutex_unlock(&q->lock);

    out = *raw;

    if (rc == 0 && type != t->type) {
        out = p = *raw + in_bytes;

        for (done = 0; rc == 0 && done < elems; done += k) {
            k = elems - done < QZ_PIECE ? elems - done : QZ_PIECE;

            rc = quant_floats(t->type, *raw + qz_bytes(t->type, done), k, x);
            if (rc == 0) {
                rc = quant_rows(type, x, 1, k, p);
            }

            p += qz_bytes(type, k);
        }
    }

    if (rc == 0) {
        rc = qz_write(q->fd, out, qz_bytes(type, elems),
                      q->head + gguf_writer_offset(q->w, i)
                          + qz_bytes(type, row * cols));
    }

    if (rc < 0) {
        qz_fail(q, i, rc);
        return 0;
    }

    atomic_fetch_add(&q->done, elems);

    return 1;
}


static int
qz_write(int fd, const void *data, uint64_t size, uint64_t at)
{
    const char *p = data;
    ssize_t     n;

    while (size > 0) {
        n = pwrite(fd, p, size, (off_t) at);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }

        if (n > 0) {
            p += n;
            at += (uint64_t) n;
            size -= (uint64_t) n;
        }
    }

    return 0;
}


static void
qz_fail(qz_t *q, size_t tensor, int rc)
{
    pthread_mutex_lock(&q->lock);

    if (q->rc == 0) {
        q->rc = rc;
        q->failed = tensor;
    }

    pthread_mutex_unlock(&q->lock);
}


/* "[=====>    ]  45 %  12.3 M weights/s  0:12 left" */

static void
qz_bar(qz_t *q, double seconds)
{
    uint64_t done = atomic_load(&q->done);
    double   part, rate, left;
    char     bar[QZ_BAR + 1];
    int      i;

    if (!isatty(2)) {
        return;
    }

    part = q->total ? (double) done / (double) q->total : 1;
    rate = (double) done / (seconds > 0 ? seconds : 1);
    left = rate > 0 ? (double) (q->total - done) / rate : 0;

    for (i = 0; i < QZ_BAR; i++) {
        bar[i] = i < (int) (part * QZ_BAR) ? '=' : ' ';
    }

    bar[QZ_BAR] = '\0';
    fprintf(stderr, "\r[%s] %3d %%  %.1f M weights/s  %d:%02d left ", bar,
            (int) (part * 100), rate / 1e6, (int) left / 60, (int) left % 60);
}


static void
qz_finish(qz_t *q, double seconds)
{
    const gguf_tensor_t *t;
    uint64_t             in = 0, out = 0, bytes[GGML_TYPES] = {0};
    uint32_t             count[GGML_TYPES] = {0};
    size_t               i;

    if (q->rc < 0) {
        unlink(q->temp);
        t = gguf_tensor_at(q->g, q->failed);
        tool_die(1, "%s%s: %s", q->rc == -EINTR ? "" : "tensor ",
                 q->rc == -EINTR ? q->conf.out : t->name,
                 q->rc == -ERANGE ? "it holds a number that is not finite, or "
                                    "too large for the type"
                                  : strerror(-q->rc));
    }

    if (fsync(q->fd) != 0 || close(q->fd) != 0
        || rename(q->temp, q->conf.out) != 0) {
        unlink(q->temp);
        tool_die(1, "%s: %s", q->conf.out, strerror(errno));
    }

    for (i = 0; i < gguf_tensor_n(q->g); i++) {
        in += gguf_tensor_at(q->g, i)->size;
        out += q->sizes[i];
        bytes[q->types[i]] += q->sizes[i];
        count[q->types[i]]++;
    }

    for (i = 0; i < GGML_TYPES; i++) {
        if (count[i]) {
            fprintf(stderr, "%6u tensors %-6s %10.1f MB\n", count[i],
                    gguf_type_name((uint32_t) i), (double) bytes[i] / 1e6);
        }
    }

    fprintf(
        stderr,
        "%.1f MB -> %.1f MB, %.2f bits a weight, %.1f s, %.1f M weights/s\n",
        (double) in / 1e6, (double) out / 1e6,
        8 * (double) out / (double) q->total, seconds,
        (double) q->total / 1e6 / seconds);
}


static void
qz_signal(int sig)
{
    (void) sig;
    qz_stop = 1;
}


static uint64_t
qz_rows(const gguf_tensor_t *t)
{
    return t->dims[1] * t->dims[2] * t->dims[3];
}


static uint64_t
qz_bytes(uint32_t type, uint64_t elems)
{
    const gguf_type_t *info = gguf_type(type);

    return elems / info->block_elems * info->block_bytes;
}
