#!/usr/bin/perl
# TAP of t/cuda/joins.c, on the emulated device.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
unless (-x "$b/t/cuda/joins") {
    print "1..0 # SKIP no CUDA toolkit\n";
    exit 0;
}
exec "$b/t/cuda/joins" or die "$b/t/cuda/joins: $!";
