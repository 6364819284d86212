#!/usr/bin/perl
# TAP of t/kernels/threads.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/threads" or die "$b/t/kernels/threads: $!";
