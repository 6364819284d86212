/*
 * JSON Schema's formats as assertions on strings.
 *
 * date-time, date, time, duration (RFC 3339; a leap second is 23:59:60 in
 * UTC); email, idn-email (RFC 5321, 6531); hostname, idn-hostname (RFC 1123,
 * IDNA 2008; see js_format_idn.c for what its tables approximate); ipv4,
 * ipv6; uri, uri-reference, iri, iri-reference (RFC 3986, 3987);
 * uri-template (RFC 6570); uuid; json-pointer, relative-json-pointer; regex
 * (ECMA-262).  Any other name means nothing.
 */

#ifndef LLM_GRAMMAR_JS_FORMAT_H
#define LLM_GRAMMAR_JS_FORMAT_H

#include "engine/base.h"

/* Above 0, or 0: not one of these. */
int js_format_find(str_t name);

/* 1 if the string (UTF-8) is of that format, 0 if not. */
int js_format_check(int format, str_t s);

/* The parts that others have use for. */
int js_format_ipv4(str_t s);
int js_format_ipv6(str_t s);
int js_format_hostname(str_t s);
int js_format_idn_hostname(str_t s);
int js_format_email(str_t s);
int js_format_idn_email(str_t s);
int js_format_uri(str_t s);
int js_format_uri_reference(str_t s);
int js_format_iri(str_t s);
int js_format_iri_reference(str_t s);
int js_format_uri_template(str_t s);

#endif /* LLM_GRAMMAR_JS_FORMAT_H */
