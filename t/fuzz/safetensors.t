#!/usr/bin/perl

# Replays the seeds of the safetensors fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/safetensors", sort glob 't/fuzz/seeds/safetensors/*'
    or die "$b/t/fuzz/safetensors: $!\n";
