/*
 * Punycode (RFC 3492): see js_punycode.h.  Any thread; nothing is kept.
 */

#include "engine/grammar/js_punycode.h"

static uint32_t puny_adapt(uint32_t delta, uint32_t points, int first);


static uint32_t
puny_adapt(uint32_t delta, uint32_t points, int first)
{
    uint32_t k = 0;

    delta = first ? delta / 700 : delta / 2;
    delta += delta / points;

    while (delta > 455) {
        delta /= 35;
        k += 36;
    }

    return k + 36 * delta / (delta + 38);
}


int
js_puny_decode(const idn_label_t *in, idn_label_t *out)
{
    uint64_t i = 0, old, w;
    uint32_t at = 4, last = 0, c, digit, k, t, n = 128, bias = 72;

    out->n = 0;

    for (k = 4; k < in->n; k++) {
        if (in->c[k] == '-') {
            last = k;
        }
    }

    if (last) {
        for (; at < last; at++) {
            out->c[out->n++] = in->c[at];
        }

        at++;
    }

    if (at >= in->n) {
        return -1;
    }

    while (at < in->n) {
        for (old = i, w = 1, k = 36;; k += 36) {
            if (at == in->n) {
                return -1;
            }

            c = in->c[at++];
            digit = c <= '9' ? c - '0' + 26 : (c | 0x20) - 'a';
            i += digit * w;
            t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;

            if (i > UINT32_MAX) {
                return -1;
            }

            if (digit < t) {
                break;
            }

            w *= 36 - t;

            if (w > UINT32_MAX) {
                return -1;
            }
        }

        bias = puny_adapt((uint32_t) (i - old), out->n + 1, old == 0);
        n += (uint32_t) (i / (out->n + 1));
        i %= out->n + 1;

        if (n > 0x10ffff || (n >= 0xd800 && n <= 0xdfff)) {
            return -1;
        }

        memmove(&out->c[i + 1], &out->c[i], (out->n - i) * sizeof(uint32_t));
        out->c[i++] = n;
        out->n++;
    }

    return 0;
}


int
js_puny_encode(const idn_label_t *in, idn_label_t *out)
{
    uint64_t delta = 0;
    uint32_t n = 128, bias = 72, h = 0, basic, next, i, k, t, q, digit;

    out->n = 0;

    for (i = 0; i < in->n; i++) {
        if (in->c[i] < 128) {
            if (out->n == IDN_LABEL) {
                return -1;
            }

            out->c[out->n++] = in->c[i];
        }
    }

    h = basic = out->n;

    if (basic > 0) {
        out->c[out->n++] = '-';
    }

    while (h < in->n) {
        for (i = 0, next = UINT32_MAX; i < in->n; i++) {
            if (in->c[i] >= n && in->c[i] < next) {
                next = in->c[i];
            }
        }

        delta += (uint64_t) (next - n) * (h + 1);
        n = next;

        for (i = 0; i < in->n; i++) {
            delta += in->c[i] < n;

            if (in->c[i] != n) {
                continue;
            }

            for (q = (uint32_t) delta, k = 36;; k += 36) {
                t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
                digit = q < t ? q : t + (q - t) % (36 - t);

                if (out->n > IDN_LABEL) {
                    return -1;
                }

                out->c[out->n++] = digit < 26 ? 'a' + digit : '0' + digit - 26;

                if (q < t) {
                    break;
                }

                q = (q - t) / (36 - t);
            }

            bias = puny_adapt((uint32_t) delta, h + 1, h == basic);
            delta = 0;
            h++;
        }

        delta++;
        n++;
    }

    return 0;
}
