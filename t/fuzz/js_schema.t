#!/usr/bin/perl

# Replays the seeds of the js_schema fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/js_schema", sort glob 't/fuzz/seeds/js_schema/*'
    or die "$b/t/fuzz/js_schema: $!\n";
