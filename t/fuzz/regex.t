#!/usr/bin/perl

# Replays the seeds of the regex fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/regex", sort glob 't/fuzz/seeds/regex/*'
    or die "$b/t/fuzz/regex: $!\n";
