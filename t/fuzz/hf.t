#!/usr/bin/perl

# Replays the seeds of the hf fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/hf", sort glob 't/fuzz/seeds/hf/*'
    or die "$b/t/fuzz/hf: $!\n";
