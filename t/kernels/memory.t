#!/usr/bin/perl
# TAP of t/kernels/memory.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/memory" or die "$b/t/kernels/memory: $!";
