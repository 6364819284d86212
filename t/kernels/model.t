#!/usr/bin/perl
# TAP of t/kernels/model.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/model" or die "$b/t/kernels/model: $!";
