#!/usr/bin/perl
# TAP of t/kernels/ops.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/ops" or die "$b/t/kernels/ops: $!";
