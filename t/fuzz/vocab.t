#!/usr/bin/perl

# Replays the seeds of the vocabulary fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/vocab", sort glob 't/fuzz/seeds/vocab/*'
    or die "$b/t/fuzz/vocab: $!\n";
