#!/usr/bin/perl
# TAP of t/cuda/runtime.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
if (!-x "$b/t/cuda/runtime") {
    print "1..0 # SKIP no CUDA toolkit\n";
    exit 0;
}
exec "$b/t/cuda/runtime" or die "$b/t/cuda/runtime: $!";
