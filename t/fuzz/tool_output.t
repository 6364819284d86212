#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
my @seeds = sort glob 't/fuzz/seeds/tool_output/*';

exec "$b/t/fuzz/tool_output", @seeds or die "no $b/t/fuzz/tool_output\n";
