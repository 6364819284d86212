#!/usr/bin/perl

# Replays the seeds of the request fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/request", sort glob 't/fuzz/seeds/request/*'
    or die "$b/t/fuzz/request: $!\n";
