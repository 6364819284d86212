#!/usr/bin/perl

# The validator against the Test Suite and the bench.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/js_suite" or die "$b/t/grammar/js_suite: $!\n";
