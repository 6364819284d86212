#!/usr/bin/perl
# TAP of t/kernels/weights.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/weights" or die "$b/t/kernels/weights: $!";
