/*
 * Decimals of any length: see js_value.h.  All is exact and works on digits;
 * no number is ever expanded by its exponent, so 1e1000000 costs what 1 does.
 * Any thread.  Digits live in the caller's arena, or in the spelling.
 */

#include <errno.h>
#include "engine/grammar/js_value.h"

/* Beyond it numbers are refused: sums of exponents stay within int64_t. */
#define DECIMAL_EXP (1000000000000000ll)

/* Limbs of nine digits of a divisor, and work on one division. */
#define DECIMAL_LIMBS 128
#define DECIMAL_WORK  (1ull << 24)

#define LIMB_BASE 1000000000u

typedef struct {
    const char *s;
    const char *end;
} decimal_scan_t;

static const char *decimal_digits(decimal_scan_t *scan);
static int         decimal_exponent(decimal_scan_t *scan, int64_t *exp);
static int decimal_settle(arena_t *arena, const char *whole, size_t n_whole,
                          const char *part, size_t n_part, int64_t exp,
                          js_decimal_t *decimal);
static int decimal_multiple_small(const js_decimal_t *a, uint64_t m,
                                  uint64_t exp);
static int decimal_multiple_large(const js_decimal_t *a, const js_decimal_t *b,
                                  uint64_t exp);


static const char *
decimal_digits(decimal_scan_t *scan)
{
    const char *s = scan->s;

    while (scan->s < scan->end && *scan->s >= '0' && *scan->s <= '9') {
        scan->s++;
    }

    return s;
}


/* After the 'e'; stops growing where it is refused anyway. */
static int
decimal_exponent(decimal_scan_t *scan, int64_t *exp)
{
    const char *s;
    int64_t     e = 0;
    int         negative = 0;

    if (scan->s < scan->end && (*scan->s == '+' || *scan->s == '-')) {
        negative = *scan->s++ == '-';
    }

    s = decimal_digits(scan);

    if (s == scan->s) {
        return -EINVAL;
    }

    for (; s < scan->s; s++) {
        if (e < 10 * DECIMAL_EXP) {
            e = e * 10 + (*s - '0');
        }
    }

    *exp = negative ? -e : e;

    return 0;
}


int
js_decimal_read(arena_t *arena, const char *s, size_t len,
                js_decimal_t *decimal)
{
    decimal_scan_t scan = {s, s + len};
    const char    *whole, *part = s;
    size_t         n_whole, n_part = 0;
    int64_t        exp = 0;

    *decimal = (js_decimal_t){0};

    if (len >= UINT32_MAX) {
        return -E2BIG;
    }

    if (len > 0 && *s == '-') {
        decimal->negative = 1;
        scan.s++;
    }

    whole = decimal_digits(&scan);
    n_whole = (size_t) (scan.s - whole);

    if (n_whole == 0 || (*whole == '0' && n_whole > 1)) {
        return -EINVAL;
    }

    if (scan.s < scan.end && *scan.s == '.') {
        scan.s++;
        part = decimal_digits(&scan);
        n_part = (size_t) (scan.s - part);

        if (n_part == 0) {
            return -EINVAL;
        }
    }

    if (scan.s < scan.end && (*scan.s == 'e' || *scan.s == 'E')) {
        scan.s++;
        LLM_TRY(decimal_exponent(&scan, &exp));
    }

    if (scan.s != scan.end) {
        return -EINVAL;
    }

    return decimal_settle(arena, whole, n_whole, part, n_part, exp, decimal);
}


static int
decimal_settle(arena_t *arena, const char *whole, size_t n_whole,
               const char *part, size_t n_part, int64_t exp,
               js_decimal_t *decimal)
{
    char       *join;
    const char *s;
    size_t      n, i;

    for (i = n_part; i > 0 && part[i - 1] == '0'; i--) { /* void */
    }

    n_part = i;

    if (n_part == 0) {
        s = whole;
        n = n_whole;

    } else if (*whole == '0') {
        s = part;
        n = n_part;

    } else {
        join = arena_get(arena, n_whole + n_part);
        if (join == NULL) {
            return -ENOMEM;
        }

        memcpy(join, whole, n_whole);
        memcpy(join + n_whole, part, n_part);
        s = join;
        n = n_whole + n_part;
    }

    while (n > 0 && *s == '0') {
        s++;
        n--;
    }

    if (n == 0) {
        *decimal = (js_decimal_t){.digits = ""};
        return 0;
    }

    if (exp < -DECIMAL_EXP || exp > DECIMAL_EXP) {
        return -E2BIG;
    }

    decimal->exp = exp - (int64_t) n_part;

    while (s[n - 1] == '0') {
        n--;
        decimal->exp++;
    }

    decimal->digits = s;
    decimal->n = (uint32_t) n;

    return 0;
}


int
js_decimal_compare(const js_decimal_t *a, const js_decimal_t *b)
{
    int64_t top_a, top_b;
    int     sign, order;

    if (a->n == 0 || b->n == 0) {
        if (a->n == b->n) {
            return 0;
        }

        return a->n ? (a->negative ? -1 : 1) : (b->negative ? 1 : -1);
    }

    if (a->negative != b->negative) {
        return a->negative ? -1 : 1;
    }

    sign = a->negative ? -1 : 1;
    top_a = a->exp + a->n;
    top_b = b->exp + b->n;

    if (top_a != top_b) {
        return top_a < top_b ? -sign : sign;
    }

    order = memcmp(a->digits, b->digits, a->n < b->n ? a->n : b->n);

    if (order == 0) {
        order = (a->n > b->n) - (a->n < b->n);
    }

    return order < 0 ? -sign : order > 0 ? sign : 0;
}


int
js_decimal_integer(const js_decimal_t *a)
{
    return a->exp >= 0;
}


int
js_decimal_u64(const js_decimal_t *a, uint64_t *value)
{
    uint64_t v = 0;
    uint32_t i;

    if (a->exp < 0 || a->negative) {
        return -EDOM;
    }

    *value = UINT64_MAX;

    if (a->exp + a->n > 19) {
        return 0;
    }

    for (i = 0; i < a->n; i++) {
        v = v * 10 + (uint64_t) (a->digits[i] - '0');
    }

    for (i = 0; i < a->exp; i++) {
        v *= 10;
    }

    *value = v;

    return 0;
}


/*
 * a / b = (digits of a / digits of b) * 10^exp.  With exp < 0 the digits of
 * a would have to end in a zero, which they never do.
 */
int
js_decimal_multiple(const js_decimal_t *a, const js_decimal_t *b)
{
    uint64_t exp, m;
    uint32_t i;

    if (b->n == 0) {
        return -EDOM;
    }

    if (a->n == 0) {
        return 1;
    }

    if (a->exp < b->exp) {
        return 0;
    }

    /* More tens than b has factors of 2 and of 5 alter nothing. */

    exp = (uint64_t) (a->exp - b->exp);

    if (exp > 4 * (uint64_t) b->n) {
        exp = 4 * (uint64_t) b->n;
    }

    if (b->n > 19) {
        return decimal_multiple_large(a, b, exp);
    }

    for (m = 0, i = 0; i < b->n; i++) {
        m = m * 10 + (uint64_t) (b->digits[i] - '0');
    }

    return decimal_multiple_small(a, m, exp);
}


static int
decimal_multiple_small(const js_decimal_t *a, uint64_t m, uint64_t exp)
{
    unsigned __int128 r = 0;
    uint64_t          i;

    for (i = 0; i < a->n + exp; i++) {
        r = r * 10 + (i < a->n ? (uint64_t) (a->digits[i] - '0') : 0);
        r %= m;
    }

    return r == 0;
}


/* r = (10 r + digit) mod m for each digit, both in limbs, lowest first. */
static int
decimal_multiple_large(const js_decimal_t *a, const js_decimal_t *b,
                       uint64_t exp)
{
    uint32_t m[DECIMAL_LIMBS + 1] = {0}, r[DECIMAL_LIMBS + 1] = {0};
    uint64_t i, t;
    int64_t  d;
    uint32_t k, n, unit;

    n = (b->n + 8) / 9 + 1;

    if (n > DECIMAL_LIMBS || (a->n + exp) * n * 10 > DECIMAL_WORK) {
        return -E2BIG;
    }

    for (i = 0, unit = 1; i < b->n; i++) {
        m[i / 9] += unit * (uint32_t) (b->digits[b->n - 1 - i] - '0');
        unit = i % 9 == 8 ? 1 : unit * 10;
    }

    for (i = 0; i < a->n + exp; i++) {
        t = i < a->n ? (uint64_t) (a->digits[i] - '0') : 0;

        for (k = 0; k < n; k++) {
            t += (uint64_t) r[k] * 10;
            r[k] = (uint32_t) (t % LIMB_BASE);
            t /= LIMB_BASE;
        }

        for (;;) {
            for (k = n; k > 0 && r[k - 1] == m[k - 1]; k--) { /* void */
            }

            if (k > 0 && r[k - 1] < m[k - 1]) {
                break;
            }

            for (d = 0, k = 0; k < n; k++) {
                d += (int64_t) r[k] - m[k];
                r[k] = (uint32_t) (d < 0 ? d + LIMB_BASE : d);
                d = d < 0 ? -1 : 0;
            }
        }
    }

    for (k = 0; k < n && r[k] == 0; k++) { /* void */
    }

    return k == n;
}
