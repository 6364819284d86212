#!/usr/bin/perl

# Types of JSON Schemas: at random, see jt_random.c.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/jt_random" or die "$b/t/grammar/jt_random: $!\n";
