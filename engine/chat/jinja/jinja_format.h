/*
 * What `%` and str.format() share: a specification of fill, width and
 * precision, and numbers and strings laid out by it.
 */

#ifndef LLM_CHAT_JINJA_FORMAT_H
#define LLM_CHAT_JINJA_FORMAT_H

#include "jinja.h"

#define JINJA_MAX_WIDTH 100000

typedef struct {
    uint32_t fill;
    char     align; /* < > = ^ or 0 */
    char     sign;
    char     type;
    char     group; /* , or _ or 0 */
    bool     alt;
    bool     trusted;
    int64_t  width;
    int64_t  prec; /* < 0: none */
} jinja_spec_t;

void jinja_put_int(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s, int64_t i,
                   bool trusted);
void jinja_put_float(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s,
                     double f, bool trusted);
void jinja_put_str(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s,
                   const jinja_str_t *text);

/* Digits at *at, as a number; -1: none. */
int64_t jinja_format_number(jinja_t *j, const jinja_str_t *f, size_t *at);

#endif /* LLM_CHAT_JINJA_FORMAT_H */
