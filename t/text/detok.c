/*
 * Streaming detokenizer: equal to Python's decode('utf-8', 'replace') of the
 * whole, however the bytes are cut.
 */

#include "engine/text/tokenizer.h"
#include "t/lib/tap.h"

#include <errno.h>


#define FFFD "\xef\xbf\xbd"


/* Made with Python: bytes.decode('utf-8', errors='replace'). */
static const struct {
    const char *in;
    size_t      len;
    const char *out;
} cases[] = {
    {"", 0, ""},
    {"plain text", 10, "plain text"},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9,
     "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"\xff", 1, FFFD},
    {"\x80\x80", 2, FFFD FFFD},
    {"\xc3", 1, FFFD},
    {"\xc3(", 2, FFFD "("},
    {"\xe2\x82", 2, FFFD},
    {"\xe2\x82x", 3, FFFD "x"},
    {"\xf0\x9f\x98", 3, FFFD},
    {"\xf0\x9f\x98\xc3\xa9", 5, FFFD "\xc3\xa9"},
    {"\xf0\x9f\xf0\x9f\x98\x80", 6, FFFD "\xf0\x9f\x98\x80"},
    {"\xc0\x80", 2, FFFD FFFD},
    {"\xe0\x80\x80", 3, FFFD FFFD FFFD},
    {"\xed\xa0\x80", 3, FFFD FFFD FFFD},
    {"\xed\x9f\xbf", 3, "\xed\x9f\xbf"},
    {"\xf4\x90\x80\x80", 4, FFFD FFFD FFFD FFFD},
    {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"},
    {"\xf5\x80\x80\x80", 4, FFFD FFFD FFFD FFFD},
    {"\xf0\x80\x80\x80", 4, FFFD FFFD FFFD FFFD},
    {"a\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
     "b",
     10, "a" FFFD FFFD FFFD FFFD "b"},
    {"12345678\xe4\xb8\xad\xe6\x96\x87zzzzzzzzzz\xe4\xb8", 26,
     "12345678\xe4\xb8\xad\xe6\x96\x87zzzzzzzzzz" FFFD},
};


static void   test_case(size_t i);
static void   test_held(void);
static void   test_random(void);
static size_t whole(const char *in, size_t len, char *out);


int
main(void)
{
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_case(i);
    }

    test_held();
    test_random();

    return tap_done();
}


static size_t
whole(const char *in, size_t len, char *out)
{
    text_detok_t d = {0};
    ssize_t      n;

    n = text_detok_feed(&d, in, len, out, TEXT_DETOK_CAP(len));

    return (size_t) n + text_detok_flush(&d, out + n);
}


/* Whole, and cut in two and three at every place. */
static void
test_case(size_t c)
{
    text_detok_t d;
    char         out[256];
    const char  *in = cases[c].in;
    size_t       a, b, n, want, len = cases[c].len;
    int          bad;

    want = strlen(cases[c].out);
    n = whole(in, len, out);
    ok(n == want && memcmp(out, cases[c].out, n) == 0, "case %zu", c);

    bad = 0;

    for (a = 0; a <= len; a++) {
        for (b = a; b <= len; b++) {
            memset(&d, 0, sizeof(d));
            n = (size_t) text_detok_feed(&d, in, a, out, sizeof(out));
            n += (size_t) text_detok_feed(&d, in + a, b - a, out + n,
                                          sizeof(out) - n);
            n += (size_t) text_detok_feed(&d, in + b, len - b, out + n,
                                          sizeof(out) - n);
            n += text_detok_flush(&d, out + n);
            bad += n != want || memcmp(out, cases[c].out, n) != 0;
        }
    }

    is_int(bad, 0, "case %zu, cut", c);
}


static void
test_held(void)
{
    text_detok_t d = {0};
    char         out[32];

    is_int(text_detok_feed(&d, "a\xf0", 2, out, 32), 1, "a lead is held");
    is_int(text_detok_feed(&d, "\x9f", 1, out, 32), 0, "its second is held");
    is_int(text_detok_feed(&d, "\x98", 1, out, 32), 0, "its third is held");
    is_int(d.n, 3, "three bytes held");
    is_int(text_detok_feed(&d, "", 0, out, 32), 0, "nothing changes nothing");
    is_int(text_detok_feed(&d, "\x80z", 2, out, 32), 5, "the last releases it");
    is_int(text_detok_flush(&d, out), 0, "nothing is left");

    is_int(text_detok_feed(&d, "abc", 3, out, TEXT_DETOK_CAP(3) - 1), -ENOSPC,
           "too little room");
    is_int(text_detok_feed(&d, "abc", 3, out, TEXT_DETOK_CAP(3)), 3,
           "just enough room");
}


/* However it is cut, the same comes out. */
static void
test_random(void)
{
    static const char pool[] = "a\x80\xbf\xc3\xa9\xe2\x82\xac\xed\xa0\xf0\x9f"
                               "\x98\xf4\x8f\x90\xffz\xe0\xc0";
    text_detok_t      d;
    unsigned          seed;
    size_t            i, k, n, m, len, step;
    char              in[48], a[256], b[256];
    int               bad;

    seed = 7;
    bad = 0;

    for (k = 0; k < 20000; k++) {
        len = k % sizeof(in);

        for (i = 0; i < len; i++) {
            seed = seed * 1103515245 + 12345;
            in[i] = pool[(seed >> 16) % (sizeof(pool) - 1)];
        }

        n = whole(in, len, a);
        memset(&d, 0, sizeof(d));
        m = 0;

        for (i = 0; i < len; i += step) {
            seed = seed * 1103515245 + 12345;
            step = 1 + (seed >> 16) % 5;
            step = step > len - i ? len - i : step;
            m += (size_t) text_detok_feed(&d, in + i, step, b + m,
                                          sizeof(b) - m);
        }

        m += text_detok_flush(&d, b + m);
        bad += n != m || memcmp(a, b, n) != 0;
    }

    is_int(bad, 0, "random bytes, cut at random");
}
