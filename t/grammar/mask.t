#!/usr/bin/perl

# Token masks against brute force.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/mask" or die "$b/t/grammar/mask: $!\n";
