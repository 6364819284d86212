#!/usr/bin/perl

use strict;
use warnings;

my $build = $ENV{LLM_BUILD} || 'build';

exec "$build/t/sched/prefix" or die "$build/t/sched/prefix: $!\n";
