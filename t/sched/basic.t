#!/usr/bin/perl

use strict;
use warnings;

my $build = $ENV{LLM_BUILD} || 'build';

exec "$build/t/sched/basic" or die "$build/t/sched/basic: $!\n";
