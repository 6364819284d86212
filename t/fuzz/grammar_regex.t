#!/usr/bin/perl

# Replays the seeds of the grammar_regex fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/grammar_regex", sort glob 't/fuzz/seeds/grammar_regex/*'
    or die "$b/t/fuzz/grammar_regex: $!\n";
