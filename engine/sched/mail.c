/*
 * The mailbox: how any thread speaks to the step loop.
 *
 * A note stands in the mailbox at most once and holds nothing but "look here":
 * what is wanted is in its slot's words (or its model's flags), which the loop
 * reads after it took the note off.  Whoever sets `queued` from 0 to 1 pushes
 * the note, with one compare-and-swap, no lock and no allocation; the loop
 * takes all of them with one exchange.
 *
 * A slot outlives its groups.  A call on a group carries the generation that
 * the group was given: after the group's end the words have another one and
 * the call does nothing.
 *
 * The loop sleeps in a futex: `awake` is set to 0, then the mailbox is looked
 * at once more; who pushes a note sets it to 1 and wakes the loop if it was 0.
 */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "engine/sched/sched_priv.h"

static int mail_check(const sched_model_t *m, const sched_group_t *group);
static int mail_token_ok(int32_t token, uint32_t n_vocab);
static int mail_sampling_ok(const sched_sampling_t *sp, uint32_t n_vocab);
static sched_slot_t *mail_slot(sched_t *s);
static int           mail_reserve(sched_t *s, sched_model_t *m);
static void mail_set(sched_t *s, const sched_group_t *group, uint32_t word,
                     uint32_t set, uint32_t clear);
static void mail_read(sched_t *s, sched_slot_t *slot);
static void mail_stops(sched_slot_t *slot, sched_req_t *r);


int
sched_submit(sched_t *s, sched_group_t *group)
{
    sched_model_t *m = group->model;
    sched_slot_t  *slot;
    sched_req_t   *r;
    int            rc;

    rc = mail_check(m, group);
    if (rc < 0) {
        return rc;
    }

    /* From here to the end of the group the model cannot go. */
    atomic_fetch_add(&m->users, 1);

    if (atomic_load(&m->removing)) {
        atomic_fetch_sub(&m->users, 1);
        sched_mail_wake(s);
        return -ESHUTDOWN;
    }

    rc = mail_reserve(s, m);
    if (rc < 0) {
        goto failed;
    }

    rc = sched_req_new(m, group, &r);
    if (rc < 0) {
        atomic_fetch_sub(&s->waiting, 1);
        goto failed;
    }

    slot = mail_slot(s);
    if (slot == NULL) {
        atomic_fetch_sub(&s->waiting, 1);
        sched_req_free(r);
        rc = -ENOMEM;
        goto failed;
    }

    r->slot = slot;
    group->priv = slot;
    group->priv_gen = (uint32_t) (atomic_load(&slot->words[0]) >> 32);
    atomic_store(&slot->fresh, r);
    sched_mail_post(s, &slot->mail);

    return 0;

failed:

    atomic_fetch_sub(&m->users, 1);
    sched_mail_wake(s);

    return rc;
}


void
sched_cancel(sched_t *s, sched_group_t *group)
{
    mail_set(s, group, 0, SCHED_FLAG_CANCEL, 0);
}


void
sched_stop(sched_t *s, sched_group_t *group, uint32_t choice)
{
    if (choice < SCHED_CHOICES_MAX) {
        mail_set(s, group, 1 + choice / 32, 1u << choice % 32, 0);
    }
}


void
sched_pause(sched_t *s, sched_group_t *group)
{
    mail_set(s, group, 0, SCHED_FLAG_PAUSE, 0);
}


void
sched_resume(sched_t *s, sched_group_t *group)
{
    mail_set(s, group, 0, 0, SCHED_FLAG_PAUSE);
}


/* What can be said without asking the loop. */

static int
mail_check(const sched_model_t *m, const sched_group_t *group)
{
    const model_t *model = m->model;
    uint64_t       room;
    uint32_t       i;

    if (group->n_tokens == 0 || group->max_tokens == 0 || group->n_choices == 0
        || group->n_choices > SCHED_CHOICES_MAX) {
        return -EINVAL;
    }

    room = (uint64_t) model->n_pages * K_PAGE_TOKENS;
    room = room < model->context ? room : model->context;

    if (group->n_tokens >= room) {
        return -E2BIG;
    }

    if (!mail_sampling_ok(&group->sampling, model->prog.n_vocab)) {
        return -EINVAL;
    }

    for (i = 0; i < group->n_eog; i++) {
        if (!mail_token_ok(group->eog[i], model->prog.n_vocab)) {
            return -EINVAL;
        }
    }

    if (group->grammar && group->n_think_end > SCHED_FORCED_MAX) {
        return -EINVAL;
    }

    for (i = 0; group->grammar && i < group->n_think_end; i++) {
        if (!mail_token_ok(group->think_end[i], model->prog.n_vocab)) {
            return -EINVAL;
        }
    }

    for (i = 0; i < group->n_tokens; i++) {
        if (!mail_token_ok(group->tokens[i], model->prog.n_vocab)) {
            return -EINVAL;
        }
    }

    return 0;
}


static int
mail_token_ok(int32_t token, uint32_t n_vocab)
{
    return token >= 0 && (uint32_t) token < n_vocab;
}


/* What a backend would refuse, and with it the whole batch. */

static int
mail_sampling_ok(const sched_sampling_t *sp, uint32_t n_vocab)
{
    uint32_t i;

    if (!isfinite(sp->temperature) || sp->temperature < 0
        || !isfinite(sp->repetition) || sp->repetition <= 0
        || !isfinite(sp->frequency) || !isfinite(sp->presence)
        || isnan(sp->top_p) || isnan(sp->min_p) || sp->n_top > K_TOP_MAX) {
        return 0;
    }

    for (i = 0; i < sp->n_bias; i++) {
        if (!mail_token_ok(sp->bias[i].token, n_vocab)
            || isnan(sp->bias[i].value)) {
            return 0;
        }
    }

    return 1;
}


/*
 * A place in the queue.  What will run at once does not wait: free places
 * count on top of max_queue.
 */

static int
mail_reserve(sched_t *s, sched_model_t *m)
{
    unsigned waiting, limit;

    limit = s->config.max_queue
            + atomic_load_explicit(&m->idle, memory_order_relaxed);
    waiting = atomic_load(&s->waiting);

    do {
        if (waiting >= limit) {
            return -EAGAIN;
        }
    } while (!atomic_compare_exchange_weak(&s->waiting, &waiting, waiting + 1));

    return 0;
}


/* A free slot; frees what the loop is done with on the way. */

static sched_slot_t *
mail_slot(sched_t *s)
{
    sched_slot_t *slot;

    pthread_mutex_lock(&s->lock);
    sched_bury(s);

    slot = s->slots_free;

    if (slot) {
        s->slots_free = slot->next;

    } else {
        slot = calloc(1, sizeof(sched_slot_t));
        if (slot) {
            slot->all = s->slots_all;
            s->slots_all = slot;
        }
    }

    pthread_mutex_unlock(&s->lock);

    return slot;
}


static void
mail_set(sched_t *s, const sched_group_t *group, uint32_t word, uint32_t set,
         uint32_t clear)
{
    sched_slot_t *slot = group->priv;
    uint64_t      old, new;

    old = atomic_load(&slot->words[word]);

    do {
        new = (old | set) & ~(uint64_t) clear;

        if (old >> 32 != group->priv_gen || new == old) {
            return;
        }
    } while (!atomic_compare_exchange_weak(&slot->words[word], &old, new));

    sched_mail_post(s, &slot->mail);
}


void
sched_mail_post(sched_t *s, sched_mail_t *mail)
{
    sched_mail_t *head;

    if (atomic_exchange(&mail->queued, 1) == 0) {
        head = atomic_load(&s->mail);

        do {
            mail->next = head;
        } while (!atomic_compare_exchange_weak(&s->mail, &head, mail));
    }

    if (atomic_exchange(&s->awake, 1) == 0) {
        syscall(SYS_futex, &s->awake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}


/* The loop is to look around; there is no note. */

void
sched_mail_wake(sched_t *s)
{
    atomic_store(&s->kicked, 1);

    if (atomic_exchange(&s->awake, 1) == 0) {
        syscall(SYS_futex, &s->awake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}


void
sched_mail_sleep(sched_t *s, uint64_t until_ns)
{
    struct timespec ts, *timeout = NULL;
    uint64_t        now, ns;

    if (until_ns != UINT64_MAX) {
        now = sched_now(s);
        ns = until_ns > now ? until_ns - now : 0;
        ts.tv_sec = (time_t) (ns / 1000000000u);
        ts.tv_nsec = (long) (ns % 1000000000u);
        timeout = &ts;
    }

    atomic_store(&s->awake, 0);

    if (atomic_load(&s->mail) == NULL && !atomic_exchange(&s->kicked, 0)) {
        syscall(SYS_futex, &s->awake, FUTEX_WAIT_PRIVATE, 0, timeout, NULL, 0);
    }

    atomic_store(&s->awake, 1);
}


/* Takes all notes, in the order in which they were posted. */

void
sched_mail_take(sched_t *s)
{
    sched_mail_t *mail, *next, *list = NULL;

    for (mail = atomic_exchange(&s->mail, NULL); mail; mail = next) {
        next = mail->next;
        mail->next = list;
        list = mail;
    }

    for (mail = list; mail; mail = next) {
        next = mail->next;
        atomic_exchange(&mail->queued, 0);

        if (mail->kind == SCHED_MAIL_MODEL) {
            sched_model_settle((sched_model_t *) mail);
        } else {
            mail_read(s, (sched_slot_t *) mail);
        }
    }
}


static void
mail_read(sched_t *s, sched_slot_t *slot)
{
    sched_req_t *r;
    uint64_t     word;

    r = atomic_exchange(&slot->fresh, NULL);

    if (r) {
        slot->req = r;
        r->number = ++s->numbers;
        r->live_prev = s->live_last;
        s->live_last = r;

        if (r->live_prev) {
            r->live_prev->live_next = r;
        } else {
            s->live = r;
        }

        sched_queue_add(r);
    }

    r = slot->req;
    if (r == NULL) {
        return;
    }

    word = atomic_load(&slot->words[0]);

    if (word & SCHED_FLAG_CANCEL) {
        sched_req_finish(r, SCHED_CANCELLED);
        return;
    }

    mail_stops(slot, r);

    if (r->state != SCHED_REQ_GONE) {
        sched_req_pause(r, (word & SCHED_FLAG_PAUSE) != 0);
    }
}


static void
mail_stops(sched_slot_t *slot, sched_req_t *r)
{
    uint32_t w, bits, choice, n = r->n_choices;

    for (w = 1; w < SCHED_WORDS; w++) {
        bits = (uint32_t) atomic_fetch_and(&slot->words[w], ~0xffffffffull);

        while (bits) {
            choice = (w - 1) * 32 + (uint32_t) __builtin_ctz(bits);
            bits &= bits - 1;

            if (choice < n && r->seqs[choice].state != SCHED_SEQ_DONE) {
                sched_seq_finish(&r->seqs[choice], SCHED_STOPPED);
            }
        }
    }
}
