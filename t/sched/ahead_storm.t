#!/usr/bin/perl

# The same with steps ahead of their results, as a GPU takes them.

use strict;
use warnings;

my $build = $ENV{LLM_BUILD} || 'build';

$ENV{SCHED_AHEAD} = 1;
exec "$build/t/sched/storm" or die "$build/t/sched/storm: $!\n";
