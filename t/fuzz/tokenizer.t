#!/usr/bin/perl

# Replays the seeds of the tokenizer fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/tokenizer", sort glob 't/fuzz/seeds/tokenizer/*'
    or die "$b/t/fuzz/tokenizer: $!\n";
