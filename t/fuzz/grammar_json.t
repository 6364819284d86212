#!/usr/bin/perl

# Replays the seeds of the grammar_json fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/grammar_json", sort glob 't/fuzz/seeds/grammar_json/*'
    or die "$b/t/fuzz/grammar_json: $!\n";
