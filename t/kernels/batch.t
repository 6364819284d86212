#!/usr/bin/perl
# TAP of t/kernels/batch.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/batch" or die "$b/t/kernels/batch: $!";
