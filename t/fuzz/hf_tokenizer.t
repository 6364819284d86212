#!/usr/bin/perl

# Replays the seeds of the hf_tokenizer fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/hf_tokenizer", sort glob 't/fuzz/seeds/hf_tokenizer/*'
    or die "$b/t/fuzz/hf_tokenizer: $!\n";
