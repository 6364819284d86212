#!/usr/bin/perl

# Headless Chromium by fetch() from another origin, its Stop button included.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use LLMWhole;
use Test::More;

plan(skip_all => 'no chromium (util/deps test)') unless grep { -x "$_/chromium" } split /:/, $ENV{PATH};

my $t = LLMWhole::start(location => 'llm_cors *;');
LLMWhole::python($t, 't/whole/browser.py', 'http://127.0.0.1:' . $t->port . '/v1');
$t->done;
