#!/usr/bin/perl
# TAP of t/kernels/sampling.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/sampling" or die "$b/t/kernels/sampling: $!";
