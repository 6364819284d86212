#!/usr/bin/perl

# Replays the seeds of the MODEL_STATE fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/model_state", sort glob 't/fuzz/seeds/model_state/*'
    or die "$b/t/fuzz/model_state: $!\n";
