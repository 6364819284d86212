#!/usr/bin/perl

# Replays the seeds of the template fuzz target, and mutations of them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/fuzz/template" or die "$b/t/fuzz/template: $!\n";
