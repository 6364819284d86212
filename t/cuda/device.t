#!/usr/bin/perl
# TAP of t/cuda/device.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
if (!-x "$b/t/cuda/device") {
    print "1..0 # SKIP no CUDA toolkit\n";
    exit 0;
}
exec "$b/t/cuda/device" or die "$b/t/cuda/device: $!";
