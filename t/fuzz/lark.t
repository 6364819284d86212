#!/usr/bin/perl

# Replays the seeds of the lark fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/lark", sort glob 't/fuzz/seeds/lark/*'
    or die "$b/t/fuzz/lark: $!\n";
