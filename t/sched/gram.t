#!/usr/bin/perl

use strict;
use warnings;

my $build = $ENV{LLM_BUILD} || 'build';

exec "$build/t/sched/gram" or die "$build/t/sched/gram: $!\n";
