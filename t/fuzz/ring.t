#!/usr/bin/perl

# Replays the seeds of the ring's fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/ring", sort glob 't/fuzz/seeds/ring/*'
    or die "$b/t/fuzz/ring: $!\n";
