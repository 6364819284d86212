#!/usr/bin/perl

# Runs the program of the same name, which prints TAP.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/ipc/threads" or die "$b/t/ipc/threads: $!\n";
