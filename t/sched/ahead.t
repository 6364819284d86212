#!/usr/bin/perl

use strict;
use warnings;

my $build = $ENV{LLM_BUILD} || 'build';

exec "$build/t/sched/ahead" or die "$build/t/sched/ahead: $!\n";
