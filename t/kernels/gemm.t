#!/usr/bin/perl

# Matrix products of the CPU backend; see gemm.c.

use warnings;
use strict;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/gemm" or die "cannot run $b/t/kernels/gemm: $!";
