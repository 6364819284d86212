#!/usr/bin/perl
my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/kernels/selftest" or die;
