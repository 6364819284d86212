#!/usr/bin/perl

# Replays the seeds of the model fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/model", sort glob 't/fuzz/seeds/model/*'
    or die "$b/t/fuzz/model: $!\n";
