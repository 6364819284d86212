#!/usr/bin/perl

# Runs the program of the same name, which prints TAP.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/api/tools" or die "$b/t/api/tools: $!\n";
