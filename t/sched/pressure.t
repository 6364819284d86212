#!/usr/bin/perl

use strict;
use warnings;

my $build = $ENV{LLM_BUILD} || 'build';

exec "$build/t/sched/pressure" or die "$build/t/sched/pressure: $!\n";
