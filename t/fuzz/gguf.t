#!/usr/bin/perl

# Replays the seeds of the gguf fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/gguf", sort glob 't/fuzz/seeds/gguf/*'
    or die "$b/t/fuzz/gguf: $!\n";
