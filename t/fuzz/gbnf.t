#!/usr/bin/perl

# Replays the seeds of the gbnf fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/gbnf", sort glob 't/fuzz/seeds/gbnf/*'
    or die "$b/t/fuzz/gbnf: $!\n";
