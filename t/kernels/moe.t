#!/usr/bin/perl
# TAP of t/kernels/moe.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/moe" or die "$b/t/kernels/moe: $!";
