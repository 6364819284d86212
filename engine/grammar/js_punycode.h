/*
 * Labels of internationalized names as code points, and their ASCII form.
 */

#ifndef LLM_GRAMMAR_JS_PUNYCODE_H
#define LLM_GRAMMAR_JS_PUNYCODE_H

#include <stdint.h>
#include "engine/base.h"

/* Octets of a label in ASCII. */
#define IDN_LABEL 63

/* Code points of a label, and of one too long. */
#define IDN_POINTS 256

typedef struct {
    uint32_t c[IDN_POINTS];
    uint32_t n;
} idn_label_t;

/*
 * What the ASCII label stands for, of letters, digits and hyphens after its
 * "xn--", IDN_LABEL long at most; -1: nothing.
 */
int js_puny_decode(const idn_label_t *in, idn_label_t *out);

/* The ASCII form without "xn--"; -1: longer than a label. */
int js_puny_encode(const idn_label_t *in, idn_label_t *out);

#endif /* LLM_GRAMMAR_JS_PUNYCODE_H */
