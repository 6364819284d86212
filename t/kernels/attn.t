#!/usr/bin/perl
# TAP of t/kernels/attn.c.
use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/attn" or die "$b/t/kernels/attn: $!";
