#!/usr/bin/perl
# TAP of t/cuda/model_types.c, on the emulated device.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
unless (-x "$b/t/cuda/model_types") {
    print "1..0 # SKIP no CUDA toolkit\n";
    exit 0;
}
exec "$b/t/cuda/model_types" or die "$b/t/cuda/model_types: $!";
